/** BIRD's state as metrics. */
import { Effect, Metric } from "effect"
import type { BirdStatus, PeerStatus } from "./birdStatus.ts"

const up = Metric.gauge("flock_bird_up", { description: "1: BIRD's control socket answers" })
const stale = Metric.gauge("flock_bird_config_stale", { description: "1: the wanted configuration is not in force" })
const reloads = Metric.gauge("flock_bird_reloads", {
  description: "Configurations that BIRD took since the agent started"
})
const established = Metric.gauge("flock_bgp_session_established", { description: "1: the BGP session is Established" })
const prefixes = Metric.gauge("flock_bgp_prefixes", {
  description: "Prefixes of a session: exported to the peer (announced) or accepted from it (learned)"
})

const unusable = Metric.gauge("flock_bgp_routes_unusable", {
  description:
    "Learned routes of a session that importCIDRs allows and BIRD cannot use, as their next hop is not reachable"
})

const attributesOf = (peer: Pick<PeerStatus, "address" | "asn">) => ({ peer: peer.address, asn: String(peer.asn) })

type Measured = Pick<PeerStatus, "address" | "asn" | "state" | "unusable" | "ipv6" | "ipv4">

const publishPeer = Effect.fnUntraced(function*(peer: Measured) {
  yield* Metric.update(Metric.withAttributes(established, attributesOf(peer)), peer.state === "Established" ? 1 : 0)
  yield* Metric.update(Metric.withAttributes(unusable, attributesOf(peer)), peer.unusable?.count ?? 0)
  for (const family of ["ipv6", "ipv4"] as const) {
    for (const direction of ["announced", "learned"] as const) {
      yield* Metric.update(
        Metric.withAttributes(prefixes, { ...attributesOf(peer), family, direction }),
        peer[family][direction]
      )
    }
  }
})

const NOTHING = { announced: 0, learned: 0 }

/** Peers of `before` that are gone are set to zero: a gauge has no end. */
export const publish = Effect.fnUntraced(function*(now: BirdStatus, before: BirdStatus) {
  yield* Metric.update(up, now.up ? 1 : 0)
  yield* Metric.update(stale, now.stale ? 1 : 0)
  yield* Metric.update(reloads, now.reloads)
  for (const peer of before.peers) {
    if (now.peers.every(({ address }) => address !== peer.address)) {
      yield* publishPeer({ address: peer.address, asn: peer.asn, state: "Down", ipv6: NOTHING, ipv4: NOTHING })
    }
  }
  yield* Effect.forEach(now.peers, publishPeer, { discard: true })
})
