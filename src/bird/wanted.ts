/** What `bird.conf` should be now: facts of the node and of Kubernetes, rendered. */
import { Effect, type FileSystem, Option, type Redacted, SubscriptionRef } from "effect"
import { formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import type { KubeApi } from "../kube/KubeApi.ts"
import type { Netlink, NetlinkError } from "../netlink/Netlink.ts"
import { renderConfig, type Rendered } from "./render.ts"
import { type PeerProblem, secretKey } from "./sessions.ts"

/** `rendered` is absent where the file must stay as it is; `problems` says what of the NodeConfig is not in force. */
export interface Wanted {
  readonly rendered: Rendered | undefined
  readonly problems: ReadonlyArray<string>
  /** Those of the problems that are one peer's. */
  readonly waiting: ReadonlyArray<PeerProblem>
  /** The NodeConfig that this is about. */
  readonly config: NodeConfig | undefined
}

const keep = (problems: ReadonlyArray<string>): Wanted => ({
  rendered: undefined,
  problems,
  waiting: [],
  config: undefined
})

export const makeWanted = (deps: {
  readonly nodeName: string
  readonly confPath: string
  readonly fs: FileSystem.FileSystem
  readonly kube: KubeApi["Service"]
  readonly netlink: Netlink["Service"]
  /** Absent until told: to write a file without them would withdraw what a previous agent announced. */
  readonly exportSet: () => ReadonlyArray<IpAddress> | undefined
  readonly drained: () => boolean
}): Effect.Effect<Wanted, NetlinkError> => {
  const { fs, kube, netlink } = deps
  // The last known ones serve while the API server does not answer.
  const passwords = new Map<string, Redacted.Redacted>()

  const readPasswords = Effect.fnUntraced(function*(config: NodeConfig) {
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
  })

  const readOutgoing = Effect.fnUntraced(function*(config: NodeConfig) {
    const outgoing = new Map<string, number>()
    for (const { address, multihop } of config.spec.bgp?.peers ?? []) {
      if (multihop === 0) continue
      const route = yield* netlink.outgoing(address)
      if (route !== undefined) outgoing.set(formatAddress(address), route.ifIndex)
    }
    return outgoing
  })

  return Effect.gen(function*() {
    const { current, rejected } = yield* SubscriptionRef.get(kube.nodeConfig)
    const refused = Option.isSome(rejected) ? [rejected.value.message] : []
    const config = Option.getOrUndefined(current)
    const exportSet = deps.exportSet()
    const exists = yield* fs.exists(deps.confPath).pipe(Effect.orElseSucceed(() => false))
    if (exists && (exportSet === undefined || (config === undefined && !(yield* kube.synced)))) return keep(refused)
    // A restart while a bad edit stands: what the last good one made stays.
    if (exists && config === undefined && Option.isSome(rejected)) return keep(refused)
    if (config !== undefined) yield* readPasswords(config)
    const rendered = renderConfig({
      nodeName: deps.nodeName,
      config: exportSet === undefined ? undefined : config,
      interfaces: yield* netlink.interfaces,
      outgoing: config === undefined ? new Map() : yield* readOutgoing(config),
      passwords,
      exportSet: exportSet ?? [],
      drained: deps.drained()
    })
    const { waiting } = rendered
    return { rendered, problems: [...refused, ...waiting.map((problem) => problem.message)], waiting, config }
  })
}
