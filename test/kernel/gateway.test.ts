/** The gateway answers whoever asks for it, with no permanent entry in the pod, while BIRD runs. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { startBird } from "../../lab/bird.ts"
import { address } from "../../src/domain/Ip.ts"
import { Firewall } from "../../src/firewall/Firewall.ts"
import { ip, makeLab, NODE4, NODE6, ping, planOf, scopedWorld, sysctl } from "./lab.ts"

const GATEWAY4 = "10.42.1.1"

/** The node's prefixes as BIRD holds them (`src/bird/render.ts`). */
const CONF = `
router id 192.0.2.1;
protocol device {}
protocol kernel { ipv4 { export all; }; metric 65535; }
protocol kernel { ipv6 { export all; }; metric 65535; }
protocol static { ipv4; route 10.42.1.0/24 unreachable; }
protocol static { ipv6; route 2001:db8:1::/64 unreachable; }
`

const withBird = Effect.fnUntraced(function*(host: string) {
  const world = yield* scopedWorld
  const directory = world.folder("bird")
  writeFileSync(join(directory, "bird.conf"), CONF)
  yield* Effect.promise(() => startBird(world, host, directory))
  yield* Effect.promise(async () => {
    while (!ip(host, "route").includes("unreachable 10.42.1.0/24")) await new Promise((done) => setTimeout(done, 20))
  })
})

const gateways = (host: string) => ip(host, "route", "show", "table", "local", "proto", "200").trim()

describe("the gateway", () => {
  for (const arpIgnore of ["0", "1", "2"]) {
    it.live(`answers in both families after the pod has lost its neighbours (arp_ignore=${arpIgnore})`, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        sysctl(host, "net/ipv4/conf/all/arp_ignore", arpIgnore)
        yield* netlink.prepareHost
        yield* netlink.answerFor([address(GATEWAY4)])
        const [a, b] = [pod(), pod()]
        yield* netlink.attach(planOf(a, 5))
        yield* netlink.attach(planOf(b, 6))
        yield* withBird(host)
        const firewall = yield* Effect.service(Firewall).pipe(
          Effect.provide(yield* Layer.build(Firewall.layer({ netns: `/run/netns/${host}` })))
        )
        yield* firewall.apply({ antiSpoofing: true, exempt: [], sources: [] })
        ip(a, "neigh", "flush", "dev", "eth0", "nud", "all")
        assert.notMatch(ip(a, "neigh"), /lladdr/)
        for (const to of [NODE4, NODE6, "10.42.1.6", "2001:db8:1::6", GATEWAY4]) ping(a, to)
        ping(a, "fe80::1%eth0")
        assert.match(ip(a, "neigh"), /10\.42\.1\.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee/)
        // Without the host's answer the pod is cut off: BIRD's unreachable route covers the gateway.
        yield* netlink.answerFor([])
        ip(a, "neigh", "flush", "dev", "eth0", "nud", "all")
        assert.throws(() => ping(a, NODE4))
        ping(a, NODE6)
        assert.match(ip(a, "neigh"), /fe80::1 dev eth0 lladdr ee:ee:ee:ee:ee:ee/)
      }).pipe(Effect.scoped))
  }

  it.live("answers after the pod's link went down and up, to whoever puts its routes back", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const a = pod()
      yield* netlink.attach(planOf(a, 5))
      yield* netlink.answerFor([address(GATEWAY4)])
      yield* withBird(host)
      ip(a, "link", "set", "eth0", "down")
      ip(a, "link", "set", "eth0", "up")
      ip(a, "route", "replace", GATEWAY4, "dev", "eth0")
      ip(a, "route", "replace", "default", "via", GATEWAY4)
      ip(a, "addr", "replace", "2001:db8:1::5/128", "dev", "eth0", "nodad")
      ip(a, "route", "replace", "default", "via", "fe80::1", "dev", "eth0")
      yield* Effect.promise(() => new Promise((done) => setTimeout(done, 300)))
      ping(a, NODE4)
      ping(a, NODE6)
    }).pipe(Effect.scoped))

  it.live("is answered for once per node, while it is asked for; an operator's own address is left alone", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      const [first, second] = [address(GATEWAY4), address("10.43.0.1")]
      yield* netlink.answerFor([first])
      assert.match(gateways(host), /^local 10\.42\.1\.1 dev lo scope host\s*$/)
      yield* netlink.answerFor([first, second])
      yield* netlink.answerFor([first, second])
      assert.match(gateways(host), /^local 10\.42\.1\.1 .*\nlocal 10\.43\.0\.1 /)
      yield* netlink.answerFor([second])
      assert.match(gateways(host), /^local 10\.43\.0\.1 [^\n]*$/)
      yield* netlink.answerFor([])
      assert.strictEqual(gateways(host), "")
      ip(host, "addr", "add", `${GATEWAY4}/32`, "dev", "lo")
      yield* netlink.answerFor([first])
      yield* netlink.answerFor([])
      ping(host, GATEWAY4)
    }).pipe(Effect.scoped))
})
