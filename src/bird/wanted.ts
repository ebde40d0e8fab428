/** What `bird.conf` should be now: facts of the node and of Kubernetes, rendered. */
import { Effect, type FileSystem, Option, SubscriptionRef } from "effect"
import { formatAddress } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import { routedAddress } from "../domain/peerAddress.ts"
import type { KubeApi, NodeConfigState } from "../kube/KubeApi.ts"
import type { HostInterface, Netlink, NetlinkError, Way } from "../netlink/Netlink.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import type { State } from "./birdEvents.ts"
import { exportCeiling } from "./exportLimit.ts"
import { doubted } from "./linkRouter.ts"
import { renderConfig, type Rendered } from "./render.ts"
import { type PeerProblem, secretKey } from "./sessions.ts"

/** `rendered` is absent where the file must stay as it is; `problems` says what of the NodeConfig is not in force. */
export interface Wanted {
  readonly rendered: Rendered | undefined
  readonly problems: ReadonlyArray<string>
  /** Those of the problems that are one peer's. */
  readonly waiting: ReadonlyArray<PeerProblem>
  /** `exportCeiling` as it is now. */
  readonly ceiling: State["ceiling"]
  /** The NodeConfig that this is about. */
  readonly config: NodeConfig | undefined
  /** As they are known now. */
  readonly passwords: State["passwords"]
  readonly found: State["found"]
  readonly ends: State["ends"]
  readonly links: State["links"]
  readonly probed: State["probed"]
}

/** Whether a file that is there must stay: what the agent does not know yet may be in it. */
export const keepsFile = (facts: {
  readonly exportSet: State["exportSet"]
  readonly nodeConfig: NodeConfigState
  /** Whether there is a NodeConfig is known. */
  readonly synced: boolean
}): boolean => {
  const { current, rejected } = facts.nodeConfig
  if (facts.exportSet === undefined) return true
  // A restart while a bad edit stands: what the last good one made stays.
  return Option.isNone(current) && (!facts.synced || Option.isSome(rejected))
}

interface Deps {
  readonly nodeName: string
  readonly confPath: string
  readonly fs: FileSystem.FileSystem
  readonly kube: KubeApi["Service"]
  readonly netlink: Netlink["Service"]
}

const readPasswords = Effect.fnUntraced(function*(
  kube: KubeApi["Service"],
  config: NodeConfig,
  known: State["passwords"]
) {
  const passwords = new Map(known)
  for (const { passwordSecretRef: ref } of config.spec.bgp?.peers ?? []) {
    if (ref === undefined) continue
    yield* kube.secret(ref).pipe(
      Effect.map(Option.match({
        onNone: () => passwords.delete(secretKey(ref)),
        onSome: (password) => passwords.set(secretKey(ref), password)
      })),
      Effect.catch((error) => Effect.logWarning(`Secret ${secretKey(ref)} of a BGP peer: ${error.message}`))
    )
  }
  return passwords
})

const readOutgoing = Effect.fnUntraced(function*(netlink: Netlink["Service"], config: NodeConfig) {
  const outgoing = new Map<string, Way>()
  for (const peer of config.spec.bgp?.peers ?? []) {
    const address = routedAddress(peer)
    if (address === undefined) continue
    const way = yield* netlink.outgoing(address)
    if (way !== undefined) outgoing.set(formatAddress(address), way)
  }
  return outgoing
})

const establishedOf = ({ peers }: State["status"]): ReadonlySet<string> =>
  new Set(peers.filter(({ state }) => state === "Established").map(({ protocol }) => protocol))

const linksOf = (config: NodeConfig | undefined, interfaces: ReadonlyArray<HostInterface>): ReadonlyArray<number> => {
  const names = (config?.spec.bgp?.peers ?? []).flatMap(({ interface: ifName }) => ifName ?? [])
  return interfaces.filter(({ ifName }) => names.includes(ifName)).map(({ ifIndex }) => ifIndex)
}

/** `drained`, `leaving`, `exportSet` and the known passwords come from the state, the rest is read anew. */
export const readWanted = Effect.fnUntraced(function*(
  { confPath, fs, kube, netlink, nodeName }: Deps,
  state: State
): Effect.fn.Return<Wanted, NetlinkError> {
  const { ceiling: before, drained, ends, exportSet, found, kept, leaving, passwords: known, probed } = state
  const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
  const refused = Option.isSome(nodeConfig.rejected) ? [nodeConfig.rejected.value.message] : []
  const exists = yield* fs.exists(confPath).pipe(Effect.orElseSucceed(() => false))
  if (exists && keepsFile({ exportSet, nodeConfig, synced: yield* kube.synced })) {
    return {
      rendered: undefined,
      problems: refused,
      waiting: [],
      ceiling: before,
      config: undefined,
      passwords: known,
      found,
      ends,
      links: state.links,
      probed
    }
  }
  const config = Option.getOrUndefined(nodeConfig.current)
  const passwords = config === undefined ? known : yield* readPasswords(kube, config, known)
  const ceiling = config === undefined || exportSet === undefined
    ? before
    : exportCeiling(before, config.spec, exportSet)
  const interfaces = yield* netlink.interfaces
  const links = linksOf(config, interfaces)
  const routers = yield* netlink.routers(links)
  const established = establishedOf(state.status)
  const at = yield* monotonicMillis
  const { ask, probe } = doubted(config?.spec.bgp?.peers ?? [], { interfaces, routers }, established, probed, at)
  yield* netlink.probeRouters(ask)
  const rendered = renderConfig({
    nodeName,
    config: exportSet === undefined ? undefined : config,
    interfaces,
    routers,
    found,
    kept,
    established,
    ends,
    outgoing: config === undefined ? new Map() : yield* readOutgoing(netlink, config),
    passwords,
    exportSet: exportSet ?? [],
    ceiling: ceiling ?? 0,
    drained,
    leaving
  })
  const { waiting } = rendered
  const problems = [...refused, ...waiting.map((problem) => problem.message)]
  return {
    rendered,
    problems,
    waiting,
    ceiling,
    config,
    passwords,
    found: rendered.found,
    ends: rendered.ends,
    links,
    probed: probe
  }
})
