/** `BirdStatus` values: made, compared, told. */
import { Effect } from "effect"
import { formatAddress } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import type { BirdStatus, PeerStatus } from "./Bird.ts"
import { protocolName } from "./render.ts"

const NO_PREFIXES = { announced: 0, learned: 0 }

/** BIRD's sessions, and configured peers that BIRD does not know (yet) as Down. */
export const withConfigured = (
  seen: ReadonlyArray<PeerStatus>,
  config: NodeConfig | undefined
): ReadonlyArray<PeerStatus> => [
  ...seen,
  ...(config?.spec.bgp?.peers ?? [])
    .filter(({ address }) => seen.every(({ protocol }) => protocol !== protocolName(address)))
    .map(({ address, asn }) => ({
      address: formatAddress(address),
      asn,
      protocol: protocolName(address),
      state: "Down",
      since: "",
      lastError: "",
      ipv6: NO_PREFIXES,
      ipv4: NO_PREFIXES
    }))
]

export const initial = (enabled: boolean): BirdStatus => ({
  enabled,
  up: false,
  version: "",
  peers: [],
  stale: false,
  configError: "",
  reloads: 0,
  drained: false
})

/** What subscribers of `statusChanges` are woken for. */
export const gist = ({ configError, drained, peers, stale, up }: BirdStatus): string =>
  JSON.stringify([up, drained, stale, configError, peers.map(({ address, state }) => [address, state])])

/** Without the back and forth of a session that cannot come up. */
export const liveness = ({ peers, up }: BirdStatus): string =>
  JSON.stringify([up, peers.filter(isEstablished).map(({ address }) => address)])

const isEstablished = ({ state }: PeerStatus): boolean => state === "Established"

/** A line when BIRD comes or goes, when a session reaches or leaves Established, and for a new error of one. */
export const logChanges = Effect.fnUntraced(function*(now: BirdStatus, before: BirdStatus, error: string) {
  if (now.up && !before.up) yield* Effect.logInfo(`BIRD ${now.version} is there`)
  if (!now.up && before.up) yield* Effect.logWarning(`BIRD is gone: ${error}`)
  for (const peer of now.peers) {
    const earlier = before.peers.find((it) => it.address === peer.address)
    const was = earlier !== undefined && isEstablished(earlier)
    const name = `BGP session with ${peer.address} (AS ${peer.asn})`
    // What keeps a session from coming up is said once, not at every try.
    if (!was && !isEstablished(peer) && peer.lastError !== "" && peer.lastError !== earlier?.lastError) {
      yield* Effect.logWarning(`${name} does not come up: ${peer.lastError}`)
    }
    if (isEstablished(peer) === was) continue
    yield* was
      ? Effect.logWarning(`${name} is ${peer.state}${peer.lastError === "" ? "" : `: ${peer.lastError}`}`)
      : Effect.logInfo(`${name} is Established`)
  }
})
