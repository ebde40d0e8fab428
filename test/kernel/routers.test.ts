/** Routers on the node's links, as the kernel hears of them; and pods that say they are one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { until } from "../../lab/until.ts"
import { address, formatAddress } from "../../src/domain/Ip.ts"
import type { RouterNeighbour } from "../../src/netlink/Netlink.ts"
import { inside, ip, ipBatch, ipJson, makeLab, planOf, sysctl } from "./lab.ts"
import { openRaw, routerAdvertisement } from "./packets.ts"

const ROUTER = "fe80::77"
const OTHER = "fe80::88"

const text = ({ address, gone, ifIndex }: RouterNeighbour) => `${formatAddress(address)}@${ifIndex}${gone ? "!" : ""}`

/** A node with an uplink to each of two routers, which advertise when they are told to. */
const withUplinks = Effect.gen(function*() {
  const lab = yield* makeLab
  const uplinks = [0, 1].map((n) => {
    const router = lab.pod()
    sysctl(router, "net/ipv6/conf/default/accept_dad", "0")
    ipBatch(lab.host, `link add up${n} type veth peer name port netns ${router}\nlink set up${n} up\n`)
    ipBatch(router, `link set port up\n`)
    const ifIndex = Number(ipJson(lab.host, "link", "show", `up${n}`)[0]?.["ifindex"])
    const raw = openRaw(router, "port")
    const advertise = (from: string) => raw.send(routerAdvertisement(from, "2001:db8:66::", 64), { everybody: true })
    return { ifIndex, advertise, router }
  })
  return { ...lab, uplinks }
})

describe("routers", () => {
  it.live("are those that advertised themselves, whatever accept_ra is", () =>
    Effect.gen(function*() {
      const { host, netlink, uplinks: [up0, up1] } = yield* withUplinks
      if (up0 === undefined || up1 === undefined) return assert.fail("no uplinks")
      for (const acceptRa of ["0", "1", "2"]) {
        sysctl(host, "net/ipv6/conf/up0/accept_ra", acceptRa)
        ip(host, "-6", "neigh", "flush", "dev", "up0")
        assert.deepStrictEqual(yield* netlink.routers([up0.ifIndex]), [], acceptRa)
        up0.advertise(ROUTER)
        yield* Effect.promise(() =>
          until(`the router with accept_ra=${acceptRa}`, async () =>
            (await Effect.runPromise(netlink.routers([up0.ifIndex]))).length === 1)
        )
        assert.deepStrictEqual((yield* netlink.routers([up0.ifIndex])).map(text), [`${ROUTER}@${up0.ifIndex}`])
      }
      assert.deepStrictEqual(yield* netlink.routers([up1.ifIndex]), [])
      assert.deepStrictEqual(yield* netlink.routers([]), [])
      // A neighbour that is no router.
      ip(host, "-6", "neigh", "replace", "fe80::5", "lladdr", "02:00:00:00:00:05", "dev", "up0")
      assert.strictEqual((yield* netlink.routers([up0.ifIndex])).length, 1)
    }).pipe(Effect.scoped))

  it.live("are told of as they come and go, on the links that are asked for; a pod that advertises itself wakes nobody", () =>
    Effect.gen(function*() {
      const { host, netlink, pod, uplinks: [up0, up1] } = yield* withUplinks
      if (up0 === undefined || up1 === undefined) return assert.fail("no uplinks")
      const hostile = pod()
      const plan = planOf(hostile, 5)
      yield* Effect.orDie(netlink.attach(plan))
      const podIndex = Number(ipJson(host, "link", "show", plan.hostIfName)[0]?.["ifindex"])
      const raw = openRaw(hostile, "eth0")
      const heard: Array<string> = []
      yield* netlink.routerChanges([up1.ifIndex, 9999, up0.ifIndex]).pipe(
        Stream.runForEach((change) => Effect.sync(() => heard.push(change === undefined ? "open" : text(change)))),
        Effect.forkScoped
      )
      const hears = (what: string) => Effect.promise(() => until(what, () => heard.includes(what)))
      yield* hears("open")
      for (let n = 1; n < 200; n++) {
        raw.send(routerAdvertisement(`fe80::bad:${n.toString(16)}`, "2001:db8:66::", 64), { everybody: true })
      }
      up0.advertise(ROUTER)
      yield* hears(`${ROUTER}@${up0.ifIndex}`)
      up1.advertise(OTHER)
      yield* hears(`${OTHER}@${up1.ifIndex}`)
      // Nobody has this address: the kernel's probes have no answer.
      yield* netlink.probeRouters(yield* netlink.routers([up0.ifIndex]))
      yield* hears(`${ROUTER}@${up0.ifIndex}!`)
      assert.deepStrictEqual((yield* netlink.routers([up0.ifIndex])).map(text), [`${ROUTER}@${up0.ifIndex}!`])
      yield* netlink.probeRouters([{ ifIndex: up1.ifIndex, address: address("fe80::99"), gone: false }])
      inside(host, "ip", "link", "del", "up1")
      yield* hears(`${OTHER}@${up1.ifIndex}!`)
      const links = new Set(heard.filter((it) => it !== "open").map((it) => /@(\d+)/.exec(it)?.[1]))
      assert.deepStrictEqual(links, new Set([`${up0.ifIndex}`, `${up1.ifIndex}`]))
      // The pod's are there, on its own link.
      assert.isAbove((yield* netlink.routers([podIndex])).length, 100)
    }).pipe(Effect.scoped))
})
