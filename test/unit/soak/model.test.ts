import { assert, describe, it } from "@effect/vitest"
import {
  addressProblem,
  answerProblem,
  type Call,
  type Circumstance,
  type Request,
  wantedOf
} from "../../soak/model.ts"
import type { Asks } from "../../soak/plan.ts"

const asks: Asks = { anycast: [], chosen: false, ipv4: true, forbidden: false }
const call = (verb: Call["verb"], during: ReadonlyArray<Circumstance> = [], more: Partial<Call> = {}): Call => ({
  verb,
  attached: false,
  during: new Set(during),
  ...more
})

describe("answerProblem", () => {
  it.each<readonly [string, Call, number]>([
    ["ADD", call("ADD"), 0],
    ["ADD of what nobody may have", call("ADD", [], { asks: { ...asks, forbidden: true } }), 100],
    ["ADD while no agent runs", call("ADD", ["agentKilled"]), 11],
    ["ADD that succeeds in spite of it", call("ADD", ["agentKilled"]), 0],
    ["ADD with a full disk", call("ADD", ["diskFull"]), 5],
    ["one of two ADDs", call("ADD", ["rivals"]), 4],
    ["DEL", call("DEL", ["diskFull", "apiCut", "configGone"]), 0],
    ["CHECK", call("CHECK", [], { attached: true }), 0],
    ["CHECK of nothing", call("CHECK"), 3],
    ["CHECK of what somebody spoils", call("CHECK", ["hostEndDown"], { attached: true }), 102],
    ["STATUS without a NodeConfig", call("STATUS", ["configGone"]), 50]
  ])("allows %s", (_, call, code) => assert.isUndefined(answerProblem(call, code)))

  it.each<readonly [string, Call, number]>([
    ["ADD that fails for nothing", call("ADD"), 11],
    ["ADD of what nobody may have", call("ADD", [], { asks: { ...asks, forbidden: true } }), 0],
    ["ADD with another error than the fault's", call("ADD", ["diskFull"]), 11],
    ["DEL that fails though the disk is only full", call("DEL", ["diskFull"]), 5],
    ["DEL that fails for want of an API server", call("DEL", ["apiCut", "configGone"]), 11],
    ["CHECK that is content with nothing", call("CHECK"), 0],
    ["CHECK that complains of what is right", call("CHECK", [], { attached: true }), 102],
    ["STATUS that fails at rest", call("STATUS"), 50],
    ["a crash", call("ADD", ["agentKilled"]), -1]
  ])("does not allow %s", (_, call, code) => assert.isString(answerProblem(call, code)))
})

describe("addressProblem", () => {
  const rules = {
    asks,
    either: false,
    ipv4: true,
    prefixes: { ipv6: "2001:db8:100:", ipv4: "10.42.0.", taken: new Set<string>() },
    request: { anycast: [], chosen: [] } as Request
  }
  const six = "2001:db8:100::a"

  it("takes one of each family from the node's prefixes", () => {
    assert.isUndefined(addressProblem([six, "10.42.0.2"], rules))
    assert.isUndefined(addressProblem([six], { ...rules, ipv4: false }))
    assert.isUndefined(addressProblem(["2001:db8:a::c"], {
      ...rules,
      ipv4: false,
      request: { anycast: [], chosen: ["2001:db8:a::c"] }
    }))
  })

  it.each<readonly [string, ReadonlyArray<string>, Partial<typeof rules>]>([
    ["no IPv6", ["10.42.0.2"], {}],
    ["two", [six, "2001:db8:100::b", "10.42.0.2"], {}],
    ["another node's", ["2001:db8:101::a", "10.42.0.2"], {}],
    ["another node's IPv4", [six, "10.42.1.2"], {}],
    ["no IPv4", [six], {}],
    ["IPv4 against the default", [six, "10.42.0.2"], { ipv4: false }],
    ["IPv4 against the annotation, whatever the default is", [six, "10.42.0.2"], {
      either: true,
      asks: { ...asks, ipv4: false }
    }],
    ["what another has", [six, "10.42.0.2"], { prefixes: { ...rules.prefixes, taken: new Set([six]) } }],
    ["not the chosen one", [six, "10.42.0.2"], { request: { anycast: [], chosen: ["2001:db8:a::c"] } }]
  ])("finds %s", (_, addresses, more) => assert.isString(addressProblem(addresses, { ...rules, ...more })))
})

describe("wantedOf", () => {
  it("leaves out anycast of a family that the pod lacks", () => {
    const wanted = wantedOf("c1/eth0", ["2001:db8::1"], { anycast: ["192.0.2.1", "2001:db8:a::1"], chosen: [] })
    assert.deepStrictEqual(wanted.anycast, ["2001:db8:a::1"])
    assert.deepStrictEqual([wanted.ifName, wanted.ready], ["eth0", false])
  })
})
