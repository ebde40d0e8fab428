import { assert, describe } from "@effect/vitest"
import { Effect, Option } from "effect"
import { unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../lab/exec.ts"
import { node6 } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { address } from "../../src/domain/Ip.ts"
import { NodeConfigInvalid } from "../../src/domain/NodeConfig.ts"
import { hostInterface } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"
import { established, Single, some, spec, untilStatus, uplink } from "./single.ts"

const world = new Single()

describe("Bird heals and holds", () => {
  world.live(
    "heals an edited and a deleted file, and a BIRD that was restarted with another one",
    Effect.gen(function*() {
      const { service } = yield* world.up
      const good = world.readConf()
      const healed = Effect.promise(() => until("healed", async () => world.readConf() === good))
      writeFileSync(world.conf, good.replace("hold time 9", "hold time 240"))
      yield* service.requestReload
      yield* healed
      unlinkSync(world.conf)
      yield* service.requestReload
      yield* healed
      // Another file under another name, which BIRD itself would read again at a plain `configure`.
      yield* Effect.promise(async () => {
        const other = join(world.directory, "other")
        await run("mkdir", other)
        writeFileSync(join(other, "bird.conf"), "log stderr all; protocol device { }\n")
        await world.startBird(other)
        await run("ln", "-sf", join(other, "bird.ctl"), join(world.directory, "bird.ctl"))
      })
      yield* untilStatus(service, "sessions again", established)
    })
  )

  world.live(
    "keeps what runs when the NodeConfig is refused, when a peer is the node itself, and over a restart meanwhile",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const good = yield* Effect.scoped(Effect.gen(function*() {
        const service = yield* runBird(facts, world.directory)
        yield* service.setExportSet([])
        yield* world.start
        yield* untilStatus(service, "sessions", established)
        const text = world.readConf()
        const rejected = new NodeConfigInvalid({
          name: "node1",
          generation: 2,
          problems: [{ field: "spec.bgp.peers[0].adress", message: "unknown field" }]
        })
        yield* facts.kube.setNodeConfig({ ...some(spec()), rejected: Option.some(rejected) })
        const status = yield* untilStatus(service, "stale", ({ stale }) => stale)
        assert.include(status.configError, "spec.bgp.peers[0].adress: unknown field")
        const peers = [...spec().bgp.peers, { address: node6(0), asn: 1 }]
        yield* facts.kube.setNodeConfig(some(spec({}, { peers })))
        const self = yield* untilStatus(service, "self", ({ configError }) => configError.includes("own address"))
        assert.include(self.peers[2]?.problem, `spec.bgp.peers[2].address: "${node6(0)}"`)
        assert.deepStrictEqual(self.peers.map(({ state }) => state), ["Established", "Established", "Down"])
        assert.isTrue(self.stale)
        assert.strictEqual(world.readConf(), text)
        // An agent that restarts now has no good NodeConfig: the file must stay.
        yield* facts.kube.setNodeConfig({ current: Option.none(), rejected: Option.some(rejected) })
        return text
      }))
      const again = yield* runBird(facts, world.directory)
      yield* again.setExportSet([])
      const status = yield* untilStatus(again, "stale", ({ stale }) => stale)
      assert.include(status.configError, "unknown field")
      assert.strictEqual(world.readConf(), good)
      assert.isTrue(status.peers.every(({ state }) => state === "Established"))
      yield* facts.kube.setNodeConfig(some(spec()))
      yield* untilStatus(again, "good again", established)
      assert.strictEqual(world.readConf(), good)
    })
  )

  world.live(
    "touches nothing after a restart until it knows the export set and the NodeConfig",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const service = yield* runBird(facts, world.directory)
        yield* service.setExportSet([address("2001:db8:a::7")])
        yield* world.start
        yield* untilStatus(service, "sessions", established)
        return world.readConf()
      }))
      yield* facts.kube.setNodeConfig({ current: Option.none(), rejected: Option.none() })
      yield* facts.kube.setSynced({ synced: false })
      const service = yield* runBird(facts, world.directory)
      const [count, text] = [world.taken(), () => world.readConf()]
      yield* Effect.sleep("300 millis")
      assert.strictEqual(text(), first)
      yield* facts.kube.setNodeConfig(some(spec()))
      yield* facts.kube.setSynced({ synced: true })
      yield* Effect.sleep("300 millis")
      assert.strictEqual(text(), first)
      yield* service.setExportSet([address("2001:db8:a::7")])
      yield* Effect.sleep("700 millis")
      assert.strictEqual(text(), first)
      assert.strictEqual(world.taken(), count)
    })
  )

  world.live(
    "follows the node's addresses: a peer waits for one, alone",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [hostInterface("uplink", [`${node6(0)}/64`])])
      const service = yield* runBird(facts, world.directory)
      yield* service.setExportSet([])
      yield* world.start
      const waiting = yield* untilStatus(service, "one session", ({ peers }) => peers[0]?.state === "Established")
      assert.include(waiting.configError, "spec.bgp.peers[1].address: \"198.51.100.1\"")
      assert.strictEqual(waiting.peers[1]?.state, "Down")
      const since = waiting.peers[0]?.since
      facts.kernel.interfaces = [uplink]
      yield* service.requestReload
      // The router ID changes with the first IPv4 address, which restarts sessions; nothing else may.
      assert.isDefined(since)
      yield* untilStatus(service, "both", established)
    })
  )

  world.live(
    "withdraws everything at once when told, and comes back",
    Effect.gen(function*() {
      const { service } = yield* world.up
      const there = () => world.lan.kernelRoutes(6).then((routes) => routes.has("2001:db8:1::/64"))
      yield* Effect.promise(() => until("announced", there))
      const said = yield* service.withdrawAll(true)
      assert.deepStrictEqual(said, ["peer_2001_db8_ffff__1: disabled", "peer_198_51_100_1: disabled"])
      yield* Effect.promise(() => until("withdrawn", async () => !(await there()), 1))
      // Neither a reload nor the status watch brings the sessions back.
      yield* service.setExportSet([address("2001:db8:a::9")])
      yield* service.requestReload
      yield* Effect.sleep("1500 millis")
      assert.isFalse(yield* Effect.promise(there))
      yield* service.restoreAll
      yield* untilStatus(service, "sessions", established)
      yield* Effect.promise(() => until("announced again", there))
    })
  )

  world.live(
    "says when it cannot write its file, and goes on when it can",
    Effect.gen(function*() {
      const facts = yield* makeFacts(some(spec()), [uplink])
      // A file where the folder should be: not even root can write below it.
      writeFileSync(join(world.directory, "blocked"), "")
      const service = yield* runBird(facts, `${world.directory}/blocked`)
      yield* service.setExportSet([])
      const status = yield* untilStatus(service, "stale", ({ configError }) => configError.includes("blocked"))
      assert.isTrue(status.stale)
      unlinkSync(join(world.directory, "blocked"))
      yield* service.requestReload
      yield* untilStatus(service, "written", ({ configError }) => !configError.includes("bird.conf"))
    })
  )
})
