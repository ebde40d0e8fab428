import { assert, describe, it } from "@effect/vitest"
import { HashMap } from "effect"
import { type Action, initial, type State, step } from "../../../src/anycast/anycastState.ts"
import { destinationKey } from "../../../src/anycast/holders.ts"
import { newsOf, occupiedOf } from "../../../src/anycast/troubles.ts"
import { address, hostCidr } from "../../../src/domain/Ip.ts"
import { occupiedBy } from "../../../src/domain/occupied.ts"
import { nodeConfig } from "../fixtures.ts"
import { allocation, route } from "./fakes.ts"

const V6 = "2001:db8:a::1"
const KEY = destinationKey(hostCidr(address(V6)))
const keys = new Set([KEY])

const read = step(initial, { _tag: "AllocationsRead", allocations: [allocation(1, { anycast: [V6] })] }).state

const ended = (state: State, occupied: ReadonlyMap<string, string>, details: ReadonlyArray<string> = []) =>
  step(state, {
    _tag: "PassEnded",
    keys,
    occupied,
    refused: details.map((detail) => ({ verb: "add", route: route(V6, [101]), detail }))
  })

const tags = (actions: ReadonlyArray<Action>) =>
  actions.map((action) => action._tag === "RetryLater" ? `retry in ${action.millis}` : action._tag)

describe("newsOf", () => {
  it("knows nothing of destinations that were not looked at", () => {
    const before = HashMap.make(["a", "x"], ["b", "x"])
    const { came, troubles, went } = newsOf(before, ["b", "c"], new Map([["c", "y"]]))
    assert.deepStrictEqual([came, went, [...HashMap.keys(troubles)].toSorted()], [["c"], ["b"], ["a", "c"]])
  })
})

describe("what is occupied", () => {
  it("is said when it comes and when it goes, with who has it, and not at each look", () => {
    const first = ended(read, new Map([[KEY, "is this node's own address (eth1)"]]))
    assert.deepStrictEqual(tags(first.actions), ["SayOccupied"])
    const [said] = first.actions
    assert.strictEqual(said?._tag === "SayOccupied" && said.addresses[0]?.holders[0]?.allocation.pod.name, "web-1")
    const second = ended(first.state, new Map([[KEY, "is this node's own address (eth1)"]]))
    assert.deepStrictEqual(tags(second.actions), [])
    const other = ended(second.state, new Map([[KEY, "is a router's address (spec.bgp.peers[0])"]]))
    assert.deepStrictEqual(tags(other.actions), ["SayOccupied"])
    const free = ended(other.state, new Map())
    assert.deepStrictEqual(tags(free.actions), ["SayFree"])
    assert.deepStrictEqual(tags(ended(free.state, new Map()).actions), [])
  })

  it("is found by the node's network, as it is now", () => {
    const { spec } = nodeConfig({ cidr6: "2001:db8:1::/64", anycast: { allowedCIDRs: ["2001:db8:a::/64"] } })
    const of = (prefix: number) =>
      occupiedOf(keys, read.index, {
        spec,
        occupied: occupiedBy({
          gateways: [],
          routes: [],
          found: [],
          learned: [],
          addresses: [{ address: address("2001:db8:a::99"), prefix, ifName: "eth1", up: true }]
        }, spec)
      })
    assert.match(of(64).get(KEY) ?? "", /^lies in 2001:db8:a::\/64, to which this node is connected \(eth1\)/)
    assert.strictEqual(of(128).size, 0)
  })
})

describe("what the kernel refuses", () => {
  it("is tried again, ever less often, and said once", () => {
    let state = read
    const seen: Array<ReadonlyArray<string>> = []
    for (let i = 0; i < 7; i++) {
      const next = ended(state, new Map(), ["EINVAL"])
      state = next.state
      seen.push(tags(next.actions))
    }
    assert.deepStrictEqual(seen, [
      ["SayRefused", "retry in 100"],
      ["retry in 200"],
      ["retry in 400"],
      ["retry in 800"],
      ["retry in 1600"],
      ["retry in 2000"],
      ["retry in 2000"]
    ])
    assert.deepStrictEqual(tags(ended(state, new Map(), ["ENOMEM"]).actions), ["SayRefused", "retry in 2000"])
    const well = ended(state, new Map())
    assert.deepStrictEqual(tags(well.actions), [])
    assert.deepStrictEqual(tags(ended(well.state, new Map(), ["EINVAL"]).actions), ["SayRefused", "retry in 100"])
  })

  it("is not forgotten for a look at something else", () => {
    const refused = ended(read, new Map(), ["EINVAL"]).state
    const elsewhere = step(refused, { _tag: "PassEnded", keys: new Set(["other"]), occupied: new Map(), refused: [] })
    assert.deepStrictEqual(tags(elsewhere.actions), ["retry in 200"])
    assert.deepStrictEqual(tags(ended(elsewhere.state, new Map(), ["EINVAL"]).actions), ["retry in 400"])
  })

  it("a pass that does not come to its end is tried again in the same way", () => {
    const once = step(read, { _tag: "PassFailed" })
    assert.deepStrictEqual(tags(once.actions), ["retry in 100"])
    assert.deepStrictEqual(tags(step(once.state, { _tag: "PassFailed" }).actions), ["retry in 200"])
  })
})
