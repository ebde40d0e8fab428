/** BIRD's state as metrics. */
import { Effect, Metric } from "effect"
import { fromZero } from "../process/fromZero.ts"
import type { BirdStatus, PeerStatus } from "./birdStatus.ts"

const up = Metric.gauge("flock_bird_up", { description: "1: BIRD's control socket answers" })
const stale = Metric.gauge("flock_bird_config_stale", { description: "1: the wanted configuration is not in force" })
const reloads = Metric.counter("flock_bird_reloads_total", {
  description: "Configurations that BIRD took since the agent started",
  incremental: true
})
const withdrawn = Metric.gauge("flock_bird_withdrawn", {
  description: "1: an operator holds the sessions down with flock-agent withdraw"
})
const established = Metric.gauge("flock_bgp_session_established", { description: "1: the BGP session is Established" })
const prefixes = Metric.gauge("flock_bgp_prefixes", {
  description: "Prefixes of a session: exported to the peer (announced) or accepted from it (learned)"
})

const unusable = Metric.gauge("flock_bgp_routes_unusable", {
  description:
    "Learned routes of a session that importCIDRs allows and BIRD cannot use, as their next hop is not reachable"
})

const enabled = Metric.counter("flock_bgp_sessions_enabled_again_total", {
  description: "Sessions that BIRD had given up for good, each time that one was enabled again",
  incremental: true
})

export const countEnabled = (count: number) => Metric.update(enabled, count)

export const started = fromZero([up, stale, withdrawn, reloads, enabled])
const bfdUp = Metric.gauge("flock_bfd_session_up", {
  description: "1: BFD with the peer is Up; only of peers that are to have it"
})

type Labelled = Pick<PeerStatus, "address" | "asn" | "asnIs" | "interface">
type Measured = Labelled & Pick<PeerStatus, "bfd" | "state" | "unusable" | "ipv6" | "ipv4">

const NOTHING = { announced: 0, learned: 0 }

/** As the NodeConfig has them: the router that is found on a link changes no series. */
const labelsOf = ({ address, asn, asnIs, interface: ifName }: Labelled) => ({
  peer: ifName ?? address,
  asn: asnIs ?? String(asn)
})

/** A peer's series and their values. */
const seriesOfPeer = (peer: Measured) => {
  const labels = labelsOf(peer)
  return [
    [Metric.withAttributes(established, labels), peer.state === "Established" ? 1 : 0] as const,
    ...(peer.bfd === undefined
      ? []
      : [[Metric.withAttributes(bfdUp, labels), peer.bfd.state === "Up" ? 1 : 0] as const]),
    [Metric.withAttributes(unusable, labels), peer.unusable?.count ?? 0] as const,
    ...(["ipv6", "ipv4"] as const).flatMap((family) =>
      (["announced", "learned"] as const).map((direction) =>
        [Metric.withAttributes(prefixes, { ...labels, family, direction }), peer[family][direction]] as const
      )
    )
  ]
}

type Named = Labelled & Pick<PeerStatus, "bfd">

const removePeer = (peer: Named) =>
  Effect.forEach(
    seriesOfPeer({ ...peer, state: "Down", ipv6: NOTHING, ipv4: NOTHING }),
    ([series]) => Metric.remove(series),
    { discard: true }
  )

const isSame = (a: Named) => (b: Named) => {
  const [one, other] = [labelsOf(a), labelsOf(b)]
  return one.peer === other.peer && one.asn === other.asn && (a.bfd === undefined) === (b.bfd === undefined)
}

/** Peers of `before` that are gone lose their series: a session that nobody wants must not look like one that is down. */
export const publish = Effect.fnUntraced(function*(now: BirdStatus, before: BirdStatus) {
  yield* Metric.update(up, now.up ? 1 : 0)
  yield* Metric.update(stale, now.stale ? 1 : 0)
  yield* Metric.update(withdrawn, now.drained === true ? 1 : 0)
  yield* Metric.update(reloads, now.reloads - before.reloads)
  for (const peer of before.peers) if (!now.peers.some(isSame(peer))) yield* removePeer(peer)
  for (const peer of now.peers) {
    for (const [series, value] of seriesOfPeer(peer)) yield* Metric.update(series, value)
  }
})
