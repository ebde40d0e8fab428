import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result } from "effect"
import { address } from "../../../src/domain/Ip.ts"
import { answerLine } from "../../../src/socket/answer.ts"
import { Introspection } from "../../../src/socket/Introspection.ts"
import type { StatusReport } from "../../../src/socket/StatusReport.ts"
import {
  encodeAnswer,
  encodeQuestion,
  isQuestion,
  parseQuestion,
  parseReply,
  Refused
} from "../../../src/socket/Tools.ts"
import type { WhyReport } from "../../../src/why/walk.ts"

const status: StatusReport = {
  version: "0.1.0",
  node: "host001",
  startedAt: "2026-01-01T00:00:00.000Z",
  nodeConfig: { present: true, generation: 3, cidr6: "2001:db8:1::/64" },
  usage: { ipv6: { cidr: "2001:db8:1::/64", used: 1, free: Number.MAX_SAFE_INTEGER } },
  allocations: [{
    namespace: "default",
    pod: "web",
    uid: "u",
    containerId: "c",
    ifName: "eth0",
    hostIfName: "flock00000001",
    ipv6: "2001:db8:1::a",
    chosen: [],
    anycast: ["2001:db8:a::53"],
    mtu: 1500,
    createdAt: "2026-01-01T00:00:00.000Z"
  }],
  announcements: [{
    address: "2001:db8:a::53",
    state: "withdrawn",
    installed: false,
    exportedTo: [],
    holders: [{
      owner: "c/eth0",
      namespace: "default",
      pod: "web",
      hostIfName: "flock00000001",
      kind: "anycast",
      gate: "NotReady"
    }]
  }],
  bird: { enabled: true, up: true, version: "2.0.12", peers: [], stale: false, configError: "", reloads: 1 },
  antiSpoofing: { state: "on", exempt: [] },
  drops: []
}

const why: WhyReport = {
  address: "2001:db8:a::53",
  node: "host001",
  kind: "anycast",
  announced: false,
  answer: "no",
  steps: [{ step: "ready", ok: false, detail: "not Ready" }, { step: "bird", ok: "skipped", detail: "" }]
}

const refusalOf = (line: string): string =>
  Result.match(parseQuestion(line), { onFailure: ({ message }) => message, onSuccess: () => "understood" })

describe("a question", () => {
  it("is told from a CNI call by its first key, and comes through", () => {
    const line = encodeQuestion({ ask: "why", address: address("2001:db8::1") })
    assert.strictEqual(line, "{\"ask\":\"why\",\"address\":\"2001:db8::1\"}\n")
    assert.isTrue(isQuestion(line))
    assert.isFalse(isQuestion("{\"op\":\"ADD\"}"))
    assert.deepStrictEqual(parseQuestion(line), Result.succeed({ ask: "why", address: address("2001:db8::1") }))
    assert.deepStrictEqual(parseQuestion(encodeQuestion({ ask: "status" })), Result.succeed({ ask: "status" }))
  })

  it("may have fields that this agent does not know", () => {
    assert.deepStrictEqual(
      parseQuestion("{\"ask\":\"status\",\"since\":[1]}"),
      Result.succeed({ ask: "status" })
    )
  })

  it.each<[string, string, RegExp]>([
    [
      "unknown",
      "{\"ask\":\"frobnicate\"}",
      /flock [\d.]+: "frobnicate" is not among .*: status, why, rights, withdraw, restore$/
    ],
    ["called as what every object has", "{\"ask\":\"toString\"}", /"toString" is not among/],
    ["incomplete", "{\"ask\":\"why\"}", /"why" is not understood.*address/],
    ["wrong", "{\"ask\":\"why\",\"address\":\"foo\"}", /not an IP address/],
    ["nameless", "{\"ask\":7}", /is not a question/],
    ["cut off", "{\"ask\":", /is not a question/],
    ["hostile", `{"ask":"\u001b[31m\\u001b${"x".repeat(5000)}"}`, /^[\x20-\x7e]{1,300}$/],
    ["hostile and valid JSON", `{"ask":"\\u001b${"x".repeat(5000)}"}`, /^[\x20-\x7e]{1,300}$/]
  ])("that is %s is refused in one line", (_, line, words) => {
    assert.match(refusalOf(line), words)
    assert.notMatch(refusalOf(line), /\n/)
  })
})

describe("an answer", () => {
  it.effect("comes through as it was, key by key in its order", () =>
    Effect.gen(function*() {
      const read = yield* parseReply("status", encodeAnswer("status", status))
      assert.strictEqual(JSON.stringify(read), JSON.stringify(status))
      assert.deepStrictEqual(yield* parseReply("why", encodeAnswer("why", why)), why)
      assert.deepStrictEqual(yield* parseReply("restore", encodeAnswer("restore", ["a"])), ["a"])
    }))

  it.effect("of a newer agent may have more fields", () =>
    Effect.gen(function*() {
      const newer = JSON.stringify({ answer: { ...why, confidence: 0.3, steps: [{ ...why.steps[0], took: 3 }] } })
      assert.deepStrictEqual(yield* parseReply("why", newer), { ...why, steps: why.steps.slice(0, 1) })
    }))

  it.effect.each<[string, string, RegExp]>([
    ["an older agent's CNI error", "{\"error\":{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"?\"}}", /cniVersion/],
    ["nothing", "", /""/],
    ["a report that lacks a field", "{\"answer\":{\"address\":\"::1\"}}", /Missing key.*node/],
    ["a list that is none", "{\"answer\":\"lines\"}", /./]
  ])("that is %s is not taken for one", ([, line, words]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(parseReply("why", line))
      assert.strictEqual(error._tag, "NotUnderstood")
      assert.match(error.message, words)
    }))
})

describe("the agent", () => {
  const answered = (members: Partial<Introspection["Service"]>, line: string) =>
    Effect.gen(function*() {
      return JSON.parse(yield* answerLine(yield* Introspection, line))
    }).pipe(Effect.provide(Layer.fresh(Introspection.layerTest(members))))

  it.effect("answers each question with its own service", () =>
    Effect.gen(function*() {
      const members: Partial<Introspection["Service"]> = {
        status: Effect.succeed(status),
        why: (asked) => Effect.succeed({ ...why, address: JSON.stringify(asked.family) }),
        withdraw: () => Effect.succeed(["peer1: disabled"]),
        restore: Effect.fail(new Refused({ message: "BIRD does not answer" }))
      }
      assert.deepStrictEqual(yield* answered(members, "{\"ask\":\"status\"}"), { answer: status })
      const asked = yield* answered(members, "{\"ask\":\"why\",\"address\":\"192.0.2.1\"}")
      assert.strictEqual(asked.answer.address, "4")
      assert.deepStrictEqual(yield* answered(members, "{\"ask\":\"withdraw\"}"), { answer: ["peer1: disabled"] })
      assert.deepStrictEqual(yield* answered(members, "{\"ask\":\"restore\"}"), { refused: "BIRD does not answer" })
    }))

  it.effect("answers also where it fails", () =>
    Effect.gen(function*() {
      const reply = yield* answered({ status: Effect.die(new Error("bug")) }, "{\"ask\":\"status\"}")
      assert.match(reply.refused, /its log says how/)
    }))
})
