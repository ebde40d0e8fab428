import { assert, describe, it } from "@effect/vitest"
import { type Action, initialState, type State } from "../../../src/bird/birdEvents.ts"
import { step } from "../../../src/bird/birdState.ts"
import { exportCeiling, exportLimit, limitHits } from "../../../src/bird/exportLimit.ts"
import { parseProtocols } from "../../../src/bird/protocols.ts"
import { type Reply, ReplyParser } from "../../../src/bird/reply.ts"
import { address } from "../../../src/domain/Ip.ts"
import { nodeConfig } from "./inputs.ts"

const spec = (maxPerNode: number) => nodeConfig({ cidr4: "10.42.1.0/24", anycast: { maxPerNode } }).spec
const held = (count: number) => Array.from({ length: count }, (_, i) => address(`192.0.2.${i}`))

describe("exportCeiling", () => {
  it("is maxPerNode, whatever the export set grows to by mistake", () => {
    assert.strictEqual(exportCeiling(undefined, spec(10), held(3)), 10)
    assert.strictEqual(exportCeiling(10, spec(10), held(200)), 10)
  })

  it("is what was held when the limit became smaller, and follows it down", () => {
    let ceiling = exportCeiling(undefined, spec(100), held(60))
    const seen: Array<number> = []
    for (const count of [60, 40, 60, 5, 60]) seen.push(ceiling = exportCeiling(ceiling, spec(10), held(count)))
    assert.deepStrictEqual(seen, [60, 40, 40, 10, 10])
  })

  it("believes what an agent finds when it starts", () => {
    assert.strictEqual(exportCeiling(undefined, spec(10), held(60)), 60)
  })

  it("leaves room for the node's prefix and what comes before others go", () => {
    assert.strictEqual(exportLimit(256, 0), 273)
    assert.strictEqual(exportLimit(256, 3), 276)
  })
})

/** As BIRD 2.0.12 printed it, with a limit of 4. */
const recorded = (exported: number, hit: boolean) =>
  `1002-Name       Proto      Table      State  Since         Info
1002-peer_192_0_2_1 BGP        ---        up     22:34:49.911  Established   
1006-  BGP state:          Established
     Neighbor address: 192.0.2.1
     Neighbor AS:      65000
   Channel ipv4
     State:          UP
     Table:          master4
     Import limit:   1000
       Action:       block
     Export limit:   4${hit ? " [HIT]" : ""}
       Action:       block
     Routes:         0 imported, ${exported} exported, 0 preferred
   Channel ipv6
     State:          UP
     Routes:         0 imported, 9 exported, 0 preferred
 
0000 
`

const replyOf = (text: string): Reply => {
  const [reply] = new ReplyParser().feed(Buffer.from(text)).replies
  if (reply === undefined) throw new Error("no reply")
  return reply
}

const answered = (state: State, exported: number, hit: boolean) => {
  const reply = replyOf(recorded(exported, hit))
  return step(state, {
    _tag: "Answered",
    answer: {
      _tag: "Up",
      version: "2.0.12",
      peers: parseProtocols(reply),
      hits: limitHits(reply),
      bfd: new Map(),
      unreachable: new Map(),
      learned: new Map(),
      overlaps: [],
      inForce: { routerId: undefined, hops: new Map() }
    },
    generation: 1,
    at: 1,
    now: ""
  })
}

const said = (actions: ReadonlyArray<Action>) =>
  actions.flatMap((action) =>
    action._tag === "ExportAgain"
      ? [action.protocol]
      : action._tag === "Log"
      ? [`${action.level} ${action.message}`]
      : []
  ).filter((text) => !text.startsWith("Info"))

describe("a limit that is hit", () => {
  it("is read from BIRD's answer, per channel", () => {
    assert.deepStrictEqual(limitHits(replyOf(recorded(4, false))), [])
    assert.deepStrictEqual(limitHits(replyOf(recorded(4, true))), [
      { protocol: "peer_192_0_2_1", channel: "ipv4", limit: 4, room: false }
    ])
  })

  it("is said once, is the peer's problem meanwhile, and what was held back is exported when there is room", () => {
    const WORDS =
      "more than 4 ipv4 prefixes are to be announced, the export limit (spec.anycast.maxPerNode, spec.bgp.advertise and 17); " +
      "BIRD holds the rest back"
    const hit = answered(initialState, 4, true)
    assert.deepStrictEqual(said(hit.actions), [`Error peer_192_0_2_1: ${WORDS}`])
    assert.deepStrictEqual(hit.state.status.peers.map(({ problem }) => problem), [WORDS])
    assert.deepStrictEqual(said(answered(hit.state, 4, true).actions), [])
    assert.deepStrictEqual(said(answered(hit.state, 3, true).actions), ["peer_192_0_2_1"])
    const well = answered(hit.state, 4, false)
    assert.deepStrictEqual(said(well.actions), [])
    assert.isFalse("problem" in (well.state.status.peers[0] ?? {}))
  })
})
