/** What the layer does when BIRD refuses a configuration or breaks off, with a control socket that plays BIRD. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Bird } from "../../../src/bird/Bird.ts"
import type { BirdStatus } from "../../../src/bird/birdStatus.ts"
import { makeFacts, runBird } from "../../bgp/bird.ts"
import { type Answer, type FakeBird, fakeBird } from "./fakeBird.ts"
import { dual, nodeConfig } from "./inputs.ts"

const spec = { cidr6: "2001:db8:1::/64", bgp: { asn: 65001, peers: [{ address: "2001:db8:ffff::1", asn: 65000 }] } }
const state = { current: Option.some(nodeConfig(spec, "node1")), rejected: Option.none() }
const NO_SESSIONS = "0000 \n"

/** A layer whose BIRD runs another file, in which `answer` decides about configurations. */
const open = Effect.fnUntraced(function*(answer: Answer) {
  let conf = ""
  let running = ""
  const bird: FakeBird = yield* fakeBird((line, socket) => {
    if (line.startsWith("show protocols")) return NO_SESSIONS
    if (line === "eval flock_revision") {
      return running === "" ? "9001 syntax error, unexpected CF_SYM_UNDEFINED\n" : `0023 ${running}\n`
    }
    const reply = answer(line, socket)
    if (reply?.includes("\n0003")) running = /flock_revision = "(\w+)"/.exec(readFileSync(conf, "utf8"))?.[1] ?? ""
    return reply
  })
  conf = join(bird.directory, "bird.conf")
  writeFileSync(conf, "# the former file\n")
  const facts = yield* makeFacts(state, dual)
  const service = yield* runBird(facts, bird.directory)
  yield* service.setExportSet([])
  return { bird, conf, facts, service }
})

const until = (service: Bird["Service"], matches: (status: BirdStatus) => boolean): Effect.Effect<BirdStatus> =>
  Effect.flatMap(
    service.lastStatus,
    (status) => matches(status) ? Effect.succeed(status) : Effect.andThen(Effect.sleep(5), until(service, matches))
  )

const OK = (line: string): string =>
  line.startsWith("configure check") ? "0002-Reading\n0020 Configuration OK\n" : "0002-Reading\n0003 Reconfigured\n"

describe("a configuration that BIRD refuses", () => {
  it.live("stays beside, the former one in force, BIRD's words in the status", () =>
    Effect.gen(function*() {
      let refuse = true
      const { bird, conf, service } = yield* open((line) =>
        refuse ? `0002-Reading configuration from ${line}\n8002 ${line.split("\"")[1]}:7:13 syntax error\n` : OK(line)
      )
      const status = yield* until(service, ({ configError }) => configError.includes("syntax error"))
      assert.strictEqual(status.configError, `${conf}.new:7:13 syntax error`)
      assert.isTrue(status.stale)
      assert.isTrue(status.up)
      assert.strictEqual(status.reloads, 0)
      assert.strictEqual(readFileSync(conf, "utf8"), "# the former file\n")
      assert.isFalse(bird.commands.some((line) => line.startsWith("configure \"")))
      refuse = false
      yield* service.requestReload
      const good = yield* until(service, ({ reloads }) => reloads === 1)
      assert.deepInclude(good, { stale: false, configError: "" })
      assert.isFalse(existsSync(`${conf}.new`))
      assert.include(readFileSync(conf, "utf8"), "protocol bgp")
    }))

  it.live("is not lost when BIRD closes between check and configure", () =>
    Effect.gen(function*() {
      let cuts = 2
      const { bird, conf, service } = yield* open((line, socket) => {
        if (line.startsWith("configure \"") && cuts-- > 0) {
          socket.destroy()
          return undefined
        }
        return OK(line)
      })
      const good = yield* until(service, ({ reloads }) => reloads === 1)
      assert.isFalse(good.stale)
      assert.strictEqual(bird.commands.filter((line) => line.startsWith("configure \"")).length, 3)
      assert.include(readFileSync(conf, "utf8"), "protocol bgp")
    }))

  it.live("does nothing more once BIRD runs it", () =>
    Effect.gen(function*() {
      const { bird, facts, service } = yield* open(OK)
      yield* until(service, ({ reloads }) => reloads === 1)
      for (let i = 0; i < 5; i++) {
        yield* service.requestReload
        yield* facts.kube.setNodeConfig(state)
        yield* Effect.sleep(20)
      }
      yield* Effect.sleep("600 millis")
      assert.strictEqual(bird.commands.filter((line) => line.startsWith("configure")).length, 2)
    }))

  it.live("has nothing to withdraw where there are no sessions, and says what else BIRD answers", () =>
    Effect.gen(function*() {
      let answer = "8003 No protocols match\n"
      const { service } = yield* open((line) => line.startsWith("configure") ? OK(line) : answer)
      assert.deepStrictEqual(yield* service.withdrawAll(false), [])
      assert.strictEqual((yield* service.lastStatus).drained, true)
      answer = "0011-peer_2001_db8_ffff__1: enabled\n0000 \n"
      assert.deepStrictEqual(yield* service.restoreAll, ["peer_2001_db8_ffff__1: enabled"])
      answer = "9001 syntax error\n"
      assert.strictEqual((yield* Effect.flip(service.withdrawAll(true))).message, "syntax error")
    }))
})
