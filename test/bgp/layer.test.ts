import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Option, Ref, SubscriptionRef } from "effect"
import { type ChildProcess } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Bird, BirdStatus } from "../../src/Bird.ts"
import { address } from "../../src/Ip.ts"
import { NodeConfigInvalid } from "../../src/NodeConfig.ts"
import { eventually, exec, run } from "../agent/node.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"
import { end, inside, kernelRoutes, Lab, node4, node6, ROUTER4, ROUTER6, ROUTER_ASN, startBird } from "./lab.ts"

const netns = `fln-${process.pid}-${Math.random().toString(16).slice(2, 8)}`
const uplink = hostInterface("uplink", [`${node6(0)}/64`, `${node4(0)}/24`])
const spec = (more: object = {}, bgp: object = {}) => ({
  cidr6: "2001:db8:1::/64",
  cidr4: "10.42.1.0/24",
  anycast: { allowedCIDRs: ["2001:db8:a::/64"] },
  bgp: {
    asn: 65001,
    peers: [
      { address: ROUTER6, asn: ROUTER_ASN, holdTimeSeconds: 9 },
      { address: ROUTER4, asn: ROUTER_ASN, holdTimeSeconds: 9 }
    ],
    ...bgp
  },
  ...more
})
const some = (it: object) => ({ current: Option.some(nodeConfig(it, "node1")), rejected: Option.none() })

let lab: Lab
let directory: string
let bird: ChildProcess | undefined

beforeAll(async () => {
  await run("ip", "netns", "add", netns)
  lab = await Lab.open({ router: "bird", nodes: [netns] })
})
afterAll(async () => {
  await lab?.close()
  await exec("ip", ["netns", "del", netns])
})

/** Each test has a folder, and a BIRD when it starts one; both end with it. */
const live = (name: string, test: Effect.Effect<void, unknown, import("effect").Scope.Scope>) =>
  it.live(name, () =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        directory = mkdtempSync(join(tmpdir(), "flock-bird-"))
      }),
      () => Effect.scoped(test),
      () =>
        Effect.promise(async () => {
          if (bird !== undefined) await end(bird, "SIGKILL")
          bird = undefined
          rmSync(directory, { recursive: true })
          for (const family of ["-6", "-4"]) await exec("ip", ["-n", netns, family, "route", "flush", "proto", "bird"])
        })
    ))

const conf = () => join(directory, "bird.conf")
const start = (...flags: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    await eventually("bird.conf is written", async () => existsSync(conf()))
    bird = await startBird(netns, directory, ...flags)
  })
const until = (service: Bird["Service"], what: string, matches: (status: BirdStatus) => boolean, seconds = 10) =>
  Effect.promise(() =>
    eventually(what, async () => {
      const status = await Effect.runPromise(service.status)
      if (!matches(status)) throw new Error(JSON.stringify(status))
      return status
    }, seconds)
  )
const established = (status: BirdStatus) =>
  !status.stale && status.peers.length === 2 && status.peers.every(({ state }) => state === "Established")
const taken = () => readFileSync(join(directory, "bird.log"), "utf8").split("\n").filter((l) => /Reconfiguring/.test(l))

describe("Bird against the real one", () => {
  live(
    "writes a bootstrap file first, then what the NodeConfig says, and BIRD takes it",
    Effect.gen(function*() {
      const facts = yield* makeFacts({}, [uplink])
      const service = yield* runBird(facts, directory)
      yield* Effect.promise(() => eventually("the bootstrap file", async () => statSync(conf()).size > 0))
      assert.strictEqual(statSync(conf()).mode & 0o777, 0o640)
      assert.notInclude(readFileSync(conf(), "utf8"), "protocol bgp")
      yield* start()
      const down = yield* until(service, "BIRD is up", ({ up }) => up)
      assert.strictEqual(down.version, "2.0.12")
      yield* service.setExports([])
      yield* SubscriptionRef.set(facts.nodeConfig, some(spec()))
      const { peers } = yield* until(service, "sessions", established)
      assert.deepStrictEqual(peers.map(({ address, asn, protocol }) => [address, asn, protocol]), [
        [ROUTER6, ROUTER_ASN, "peer_2001_db8_ffff__1"],
        [ROUTER4, ROUTER_ASN, "peer_198_51_100_1"]
      ])
      assert.match(peers[0]?.since ?? "", /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
      const routes = yield* Effect.promise(() =>
        eventually("routes", async () => {
          const [six, four] = [await lab.kernelRoutes(6), await lab.kernelRoutes(4)]
          return six.has("2001:db8:1::/64") && four.has("10.42.1.0/24") && { six, four }
        })
      )
      assert.deepStrictEqual(routes.six.get("2001:db8:1::/64"), [node6(0)])
      assert.deepStrictEqual(routes.four.get("10.42.1.0/24"), [node4(0)])
      const after = yield* until(service, "prefixes counted", ({ peers }) => peers[0]?.ipv6.announced === 1)
      assert.deepStrictEqual(after.peers.map(({ ipv4, ipv6 }) => [ipv6, ipv4]), [
        [{ announced: 1, learned: 0 }, { announced: 0, learned: 0 }],
        [{ announced: 0, learned: 0 }, { announced: 1, learned: 0 }]
      ])
    })
  )

  live(
    "writes the file although BIRD is not there, and says so; BIRD finds it when it comes",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, directory)
      yield* service.setExports([])
      const status = yield* until(service, "file", () => readFileSync(conf(), "utf8").includes("protocol bgp"))
      assert.deepInclude(status, { up: false, stale: true, version: "", reloads: 0 })
      assert.include(status.configError, "bird.ctl: ENOENT")
      assert.deepStrictEqual(status.peers.map(({ state }) => state), ["Down", "Down"])
      yield* start()
      yield* until(service, "sessions", established)
      assert.strictEqual((yield* service.lastStatus).reloads, 0)
    })
  )

  live(
    "exports an announced address while the kernel has its route, with no reload",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, directory)
      const anycast = address("2001:db8:a::1")
      yield* service.setExports([anycast])
      yield* start()
      yield* until(service, "sessions", established)
      const { reloads } = yield* service.lastStatus
      const exported = (wanted: boolean) =>
        Effect.promise(() =>
          eventually(`exported ${wanted}`, async () =>
            (await lab.kernelRoutes(6)).has("2001:db8:a::1") === wanted &&
            await Effect.runPromise(service.exportedTo(anycast, "peer_2001_db8_ffff__1")) === wanted)
        )
      yield* exported(false)
      const route = ["2001:db8:a::1/128", "via", ROUTER6, "dev", "uplink", "onlink"]
      yield* Effect.promise(() => run("ip", "-n", netns, "-6", "route", "add", ...route, "proto", "201"))
      yield* exported(true)
      assert.isFalse(yield* service.exportedTo(anycast, "peer_198_51_100_1"))
      assert.isFalse(yield* service.exportedTo(anycast, "nosuch"))
      assert.isFalse(yield* service.exportedTo(anycast, "x; configure undo"))
      // Neither another protocol number nor another address is announced.
      yield* Effect.promise(() => run("ip", "-n", netns, "-6", "route", "del", ...route, "proto", "201"))
      yield* Effect.promise(() => run("ip", "-n", netns, "-6", "route", "add", ...route, "proto", "202"))
      yield* exported(false)
      yield* Effect.promise(() => run("ip", "-n", netns, "-6", "route", "flush", "2001:db8:a::1/128"))
      yield* Effect.promise(() =>
        inside(netns, "ip", "-6", "route", "add", "2001:db8:a::2/128", "via", ROUTER6, "dev", "uplink", "proto", "201")
      )
      yield* service.setExports([anycast, address("2001:db8:a::3")])
      yield* service.requestReload
      yield* until(service, "reload", (status) => status.reloads > reloads)
      assert.isFalse(yield* service.exportedTo(address("2001:db8:a::2"), "peer_2001_db8_ffff__1"))
      assert.isFalse((yield* Effect.promise(() => lab.kernelRoutes(6))).has("2001:db8:a::2"))
      yield* Effect.promise(() => run("ip", "-n", netns, "-6", "route", "flush", "2001:db8:a::2/128"))
    })
  )

  live(
    "makes few reloads of a burst of 500 requests, and the last state is in force",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, directory)
      yield* service.setExports([])
      yield* start()
      yield* until(service, "sessions", established)
      yield* Effect.sleep("600 millis")
      const before = taken().length
      const begin = performance.now()
      for (let i = 0; i < 500; i++) {
        yield* service.setExports(
          Array.from({ length: i + 1 }, (_, n) => address(`2001:db8:a::${(n + 1).toString(16)}`))
        )
        yield* service.requestReload
        yield* Effect.sleep(2)
      }
      const last = "2001:db8:a::1f4/128"
      yield* until(service, "last", () => readFileSync(conf(), "utf8").includes(last))
      yield* until(service, "settled", ({ stale }) => !stale)
      const windows = Math.ceil((performance.now() - begin) / 500) + 1
      const reloads = taken().length - before
      assert.isAtLeast(reloads, 2)
      assert.isAtMost(reloads, windows)
      const said = yield* Effect.promise(() => run("birdc", "-s", join(directory, "bird.ctl"), "eval flock_revision"))
      assert.include(readFileSync(conf(), "utf8"), `"${said.trim().split("\n").at(-1)}"`)
    })
  )

  live(
    "does nothing for the same text",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, directory)
      yield* service.setExports([])
      yield* start()
      yield* until(service, "sessions", established)
      const [count, inode] = [taken().length, statSync(conf()).ino]
      for (let i = 0; i < 20; i++) yield* service.requestReload
      yield* SubscriptionRef.set(facts.nodeConfig, some(spec()))
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual([taken().length, statSync(conf()).ino], [count, inode])
    })
  )

  live(
    "heals an edited and a deleted file, and a BIRD that was restarted with another one",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, directory)
      yield* service.setExports([])
      yield* start()
      yield* until(service, "sessions", established)
      const good = readFileSync(conf(), "utf8")
      const healed = Effect.promise(() => eventually("healed", async () => readFileSync(conf(), "utf8") === good))
      writeFileSync(conf(), good.replace("hold time 9", "hold time 240"))
      yield* service.requestReload
      yield* healed
      unlinkSync(conf())
      yield* service.requestReload
      yield* healed
      // Another file under another name, which BIRD itself would read again at a plain `configure`.
      yield* Effect.promise(async () => {
        if (bird !== undefined) await end(bird, "SIGTERM")
        const other = join(directory, "other")
        await run("mkdir", other)
        writeFileSync(join(other, "bird.conf"), "log stderr all; protocol device { }\n")
        bird = await startBird(netns, other)
        await run("ln", "-sf", join(other, "bird.ctl"), join(directory, "bird.ctl"))
      })
      yield* until(service, "sessions again", established)
    })
  )

  live(
    "keeps what runs when the NodeConfig is refused, when a peer is the node itself, and over a restart meanwhile",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const good = yield* Effect.scoped(Effect.gen(function*() {
        const service = yield* runBird(facts, directory)
        yield* service.setExports([])
        yield* start()
        yield* until(service, "sessions", established)
        const text = readFileSync(conf(), "utf8")
        const rejected = new NodeConfigInvalid({
          name: "node1",
          generation: 2,
          problems: [{ field: "spec.bgp.peers[0].adress", message: "unknown field" }]
        })
        yield* SubscriptionRef.update(facts.nodeConfig, (it) => ({ ...it, rejected: Option.some(rejected) }))
        const status = yield* until(service, "stale", ({ stale }) => stale)
        assert.include(status.configError, "spec.bgp.peers[0].adress: unknown field")
        yield* SubscriptionRef.set(facts.nodeConfig, some(spec({}, { peers: [{ address: node6(0), asn: 1 }] })))
        const self = yield* until(service, "self", ({ configError }) => configError.includes("own address"))
        assert.include(self.configError, `spec.bgp.peers[0].address: "${node6(0)}"`)
        assert.isTrue(self.stale)
        // An agent that restarts now has no good NodeConfig: the file must stay.
        yield* SubscriptionRef.set(facts.nodeConfig, { current: Option.none(), rejected: Option.some(rejected) })
        return text
      }))
      const again = yield* runBird(facts, directory)
      yield* again.setExports([])
      const status = yield* until(again, "stale", ({ stale }) => stale)
      assert.include(status.configError, "unknown field")
      assert.strictEqual(readFileSync(conf(), "utf8"), good)
      assert.isTrue(status.peers.every(({ state }) => state === "Established"))
      yield* SubscriptionRef.set(facts.nodeConfig, some(spec()))
      yield* until(again, "good again", established)
      assert.strictEqual(readFileSync(conf(), "utf8"), good)
    })
  )

  live(
    "touches nothing after a restart until it knows the exports and the NodeConfig",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const service = yield* runBird(facts, directory)
        yield* service.setExports([address("2001:db8:a::7")])
        yield* start()
        yield* until(service, "sessions", established)
        return readFileSync(conf(), "utf8")
      }))
      yield* SubscriptionRef.set(facts.nodeConfig, { current: Option.none(), rejected: Option.none() })
      yield* Ref.set(facts.synced, false)
      const service = yield* runBird(facts, directory)
      const [count, text] = [taken().length, () => readFileSync(conf(), "utf8")]
      yield* Effect.sleep("300 millis")
      assert.strictEqual(text(), first)
      yield* SubscriptionRef.set(facts.nodeConfig, some(spec()))
      yield* Ref.set(facts.synced, true)
      yield* Effect.sleep("300 millis")
      assert.strictEqual(text(), first)
      yield* service.setExports([address("2001:db8:a::7")])
      yield* Effect.sleep("700 millis")
      assert.strictEqual(text(), first)
      assert.strictEqual(taken().length, count)
    })
  )

  live(
    "follows the node's addresses: a peer waits for one, alone",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [hostInterface("uplink", [`${node6(0)}/64`])])
      const service = yield* runBird(facts, directory)
      yield* service.setExports([])
      yield* start()
      const waiting = yield* until(service, "one session", ({ peers }) => peers[0]?.state === "Established")
      assert.include(waiting.configError, "spec.bgp.peers[1].address: \"198.51.100.1\"")
      assert.strictEqual(waiting.peers[1]?.state, "Down")
      const since = waiting.peers[0]?.since
      yield* Ref.set(facts.interfaces, [uplink])
      yield* service.requestReload
      // The router ID changes with the first IPv4 address, which restarts sessions; nothing else may.
      assert.isDefined(since)
      yield* until(service, "both", established)
    })
  )

  live(
    "withdraws everything at once when told, and comes back",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const service = yield* runBird(facts, directory)
      yield* service.setExports([])
      yield* start()
      yield* until(service, "sessions", established)
      const there = () => lab.kernelRoutes(6).then((routes) => routes.has("2001:db8:1::/64"))
      yield* Effect.promise(() => eventually("announced", there))
      const said = yield* service.withdrawAll
      assert.deepStrictEqual(said, ["peer_2001_db8_ffff__1: disabled", "peer_198_51_100_1: disabled"])
      yield* Effect.promise(() => eventually("withdrawn", async () => !(await there()), 1))
      // Neither a reload nor the status watch brings the sessions back.
      yield* service.setExports([address("2001:db8:a::9")])
      yield* service.requestReload
      yield* Effect.sleep("1500 millis")
      assert.isFalse(yield* Effect.promise(there))
      yield* service.restoreAll
      yield* until(service, "sessions", established)
      yield* Effect.promise(() => eventually("announced again", there))
    })
  )
})

it("leaves the kernel without BIRD's routes at the end", async () => {
  assert.strictEqual((await kernelRoutes(netns, 6, "bird")).size, 0)
})
