/** The interface through which the routers are reached: the pods' MTU comes from it. */
import { Cache, Context, Duration, Effect, Layer } from "effect"
import { address, type IpAddress, parseAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { linkOf, peerName } from "../domain/peerAddress.ts"
import { Netlink } from "./Netlink.ts"

/** Where nothing says otherwise (RFC 894, RFC 2464). */
const ETHERNET_MTU = 1500

/** Never a pod MTU: IPv6 needs this much (RFC 8200, section 5). */
const MINIMUM_MTU = 1280

/** Any address beyond the node's own networks finds the default route's interface. */
const ELSEWHERE = [address("2001:db8::"), address("192.0.2.0")]

export class Uplink extends Context.Service<Uplink, {
  /** Bytes: `spec.mtu`, else the smallest MTU towards the peers, else of the default route's interface, else 1500. */
  readonly mtu: (spec: NodeConfigSpec) => Effect.Effect<number>
}>()("flock/Uplink") {
  static readonly layer = Layer.effect(
    Uplink,
    Effect.gen(function*() {
      const netlink = yield* Netlink

      /** `targets`: addresses, and names of interfaces. */
      const lookup = Effect.fnUntraced(function*(targets: string) {
        const interfaces = yield* netlink.interfaces
        const mtuTowards = Effect.fnUntraced(function*(target: IpAddress | string) {
          if (typeof target === "string") return interfaces.filter((i) => i.ifName === target).map((i) => i.mtu)
          const route = yield* netlink.outgoing(target)
          return interfaces.filter((i) => i.ifIndex === route?.ifIndex && i.ifName !== "lo").map((i) => i.mtu)
        })
        const peers = targets === "" ? [] : targets.split(" ").map((text) => parseAddress(text) ?? text)
        const found = (yield* Effect.forEach(peers, mtuTowards)).flat()
        const usable = found.length > 0 ? found : (yield* Effect.forEach(ELSEWHERE, mtuTowards)).flat()
        return usable.length === 0 ? ETHERNET_MTU : Math.max(MINIMUM_MTU, Math.min(...usable))
      })

      // A burst of ADDs asks the kernel once; a changed uplink is seen within 15 s, as a changed NodeConfig is.
      const cache = yield* Cache.make({ capacity: 4, timeToLive: Duration.seconds(15), lookup })

      return Uplink.of({
        mtu: (spec) =>
          spec.mtu !== undefined ? Effect.succeed(spec.mtu) : Cache.get(
            cache,
            (spec.bgp?.peers ?? []).map((peer) => linkOf(peer) ?? peerName(peer)).join(" ")
          ).pipe(
            Effect.catch((error) =>
              Effect.as(Effect.logWarning(`cannot read the uplink's MTU: ${error.message}`), ETHERNET_MTU)
            )
          )
      })
    })
  )
}
