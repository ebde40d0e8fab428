import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { statSync } from "node:fs"
import { join } from "node:path"
import { exec, inside, run } from "../../lab/exec.ts"
import { node4, node6, ROUTER4, ROUTER6, ROUTER_ASN } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { address, hostCidr } from "../../src/domain/Ip.ts"
import { makeFacts, runBird } from "./bird.ts"
import { established, Single, some, spec, untilStatus, uplink } from "./single.ts"

const world = new Single()

describe("Bird against the real one", () => {
  world.live(
    "writes a bootstrap file first, then what the NodeConfig says, and BIRD takes it",
    Effect.gen(function*() {
      const facts = yield* makeFacts({}, [uplink])
      const service = yield* runBird(facts, world.directory)
      yield* Effect.promise(() => until("the bootstrap file", async () => statSync(world.conf).size > 0))
      assert.strictEqual(statSync(world.conf).mode & 0o777, 0o640)
      assert.notInclude(world.readConf(), "protocol bgp")
      yield* world.start
      const down = yield* untilStatus(service, "BIRD is up", ({ up }) => up)
      const { stderr } = yield* Effect.promise(() => exec("bird", ["--version"]))
      assert.strictEqual(`BIRD version ${down.version}`, stderr.trim())
      yield* service.setExportSet([])
      yield* facts.kube.setNodeConfig(some(spec()))
      const { peers } = yield* untilStatus(service, "sessions", established)
      assert.deepStrictEqual(peers.map(({ address, asn, protocol }) => [address, asn, protocol]), [
        [ROUTER6, ROUTER_ASN, "peer_2001_db8_ffff__1"],
        [ROUTER4, ROUTER_ASN, "peer_198_51_100_1"]
      ])
      assert.match(peers[0]?.since ?? "", /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
      const routes = yield* Effect.promise(() =>
        until("routes", async () => {
          const [six, four] = [await world.lan.kernelRoutes(6), await world.lan.kernelRoutes(4)]
          return six.has("2001:db8:1::/64") && four.has("10.42.1.0/24") && { six, four }
        })
      )
      assert.deepStrictEqual(routes.six.get("2001:db8:1::/64"), [node6(0)])
      assert.deepStrictEqual(routes.four.get("10.42.1.0/24"), [node4(0)])
      const after = yield* untilStatus(service, "prefixes counted", ({ peers }) => peers[0]?.ipv6.announced === 1)
      assert.deepStrictEqual(after.peers.map(({ ipv4, ipv6 }) => [ipv6, ipv4]), [
        [{ announced: 1, learned: 0 }, { announced: 0, learned: 0 }],
        [{ announced: 0, learned: 0 }, { announced: 1, learned: 0 }]
      ])
    })
  )

  world.live(
    "writes the file although BIRD is not there, and says so; BIRD finds it when it comes",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, world.directory)
      yield* service.setExportSet([])
      const status = yield* untilStatus(service, "file", () => world.readConf().includes("protocol bgp"))
      assert.deepInclude(status, { up: false, stale: true, version: "", reloads: 0 })
      assert.include(status.configError, "bird.ctl: ENOENT")
      assert.deepStrictEqual(status.peers.map(({ state }) => state), ["Down", "Down"])
      yield* world.start
      yield* untilStatus(service, "sessions", established)
      assert.strictEqual((yield* service.lastStatus).reloads, 0)
    })
  )

  world.live(
    "exports an announced address while the kernel has its route, with no reload",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, world.directory)
      const anycast = address("2001:db8:a::1")
      yield* service.setExportSet([anycast])
      yield* world.start
      yield* untilStatus(service, "sessions", established)
      const { reloads } = yield* service.lastStatus
      const exported = (wanted: boolean) =>
        Effect.promise(() =>
          until(
            `exported ${wanted}`,
            async () =>
              (await world.lan.kernelRoutes(6)).has("2001:db8:a::1") === wanted &&
              await Effect.runPromise(service.exportedTo(hostCidr(anycast), "peer_2001_db8_ffff__1")) === wanted
          )
        )
      yield* exported(false)
      const route = ["2001:db8:a::1/128", "via", ROUTER6, "dev", "uplink", "onlink"]
      yield* Effect.promise(() => run("ip", "-n", world.netns, "-6", "route", "add", ...route, "proto", "201"))
      yield* exported(true)
      assert.isFalse(yield* service.exportedTo(hostCidr(anycast), "peer_198_51_100_1"))
      assert.isFalse(yield* service.exportedTo(hostCidr(anycast), "nosuch"))
      assert.isFalse(yield* service.exportedTo(hostCidr(anycast), "x; configure undo"))
      // Neither another protocol number nor another address is announced.
      yield* Effect.promise(() => run("ip", "-n", world.netns, "-6", "route", "del", ...route, "proto", "201"))
      yield* Effect.promise(() => run("ip", "-n", world.netns, "-6", "route", "add", ...route, "proto", "202"))
      yield* exported(false)
      yield* Effect.promise(() => run("ip", "-n", world.netns, "-6", "route", "flush", "2001:db8:a::1/128"))
      yield* Effect.promise(() =>
        inside(
          world.netns,
          "ip",
          "-6",
          "route",
          "add",
          "2001:db8:a::2/128",
          "via",
          ROUTER6,
          "dev",
          "uplink",
          "proto",
          "201"
        )
      )
      yield* service.setExportSet([anycast, address("2001:db8:a::3")])
      yield* service.requestReload
      yield* untilStatus(service, "reload", (status) => status.reloads > reloads)
      assert.isFalse(yield* service.exportedTo(hostCidr(address("2001:db8:a::2")), "peer_2001_db8_ffff__1"))
      assert.isFalse((yield* Effect.promise(() => world.lan.kernelRoutes(6))).has("2001:db8:a::2"))
      yield* Effect.promise(() => run("ip", "-n", world.netns, "-6", "route", "flush", "2001:db8:a::2/128"))
    })
  )

  world.live(
    "makes few reloads of a burst of 500 requests, and the last state is in force",
    Effect.gen(function*() {
      const { service } = yield* world.up
      yield* Effect.sleep("600 millis")
      const before = world.taken()
      const begin = performance.now()
      for (let i = 0; i < 500; i++) {
        yield* service.setExportSet(
          Array.from({ length: i + 1 }, (_, n) => address(`2001:db8:a::${(n + 1).toString(16)}`))
        )
        yield* service.requestReload
        yield* Effect.sleep(2)
      }
      const last = "2001:db8:a::1f4/128"
      yield* untilStatus(service, "last", () => world.readConf().includes(last))
      yield* untilStatus(service, "settled", ({ stale }) => !stale)
      const windows = Math.ceil((performance.now() - begin) / 500) + 1
      const reloads = world.taken() - before
      assert.isAtLeast(reloads, 2)
      assert.isAtMost(reloads, windows)
      const said = yield* Effect.promise(() =>
        run("birdc", "-s", join(world.directory, "bird.ctl"), "eval flock_revision")
      )
      assert.include(world.readConf(), `"${said.trim().split("\n").at(-1)}"`)
    })
  )

  world.live(
    "does nothing for the same text",
    Effect.gen(function*() {
      const { facts, service } = yield* world.up
      const [count, inode] = [world.taken(), statSync(world.conf).ino]
      for (let i = 0; i < 20; i++) yield* service.requestReload
      yield* facts.kube.setNodeConfig(some(spec()))
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual([world.taken(), statSync(world.conf).ino], [count, inode])
    })
  )
})
