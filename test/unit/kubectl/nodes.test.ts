import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { table } from "../../../src/cli/table.ts"
import { forwardedPackets } from "../../../src/cli/traffic.ts"
import { address } from "../../../src/domain/Ip.ts"
import { isQuiet, packetsIn, sessionsIn } from "../../../src/kubectl/drain.ts"
import { KubectlFailed } from "../../../src/kubectl/kubectl.ts"
import { addressRows, age, anycastTable, nodeRows, statusTable, templateLines } from "../../../src/kubectl/nodes.ts"
import { candidates, nodeAnswer, whyLines } from "../../../src/kubectl/why.ts"

const NOW = Date.parse("2026-11-26T12:00:00Z")

const nodeConfig = (name: string, n: number, status: object = {}, labels: object = {}) => ({
  metadata: { name, labels },
  spec: { cidr4: `10.42.${n}.0/24`, cidr6: `2001:db8:${n}::/64` },
  status: {
    conditions: [{ type: "Ready", status: "True", reason: "FlockReady", lastTransitionTime: "2026-11-26T09:00:00Z" }],
    addresses: { ipv4: { used: 3, free: 250 }, ipv6: { used: 3, free: 9007199254740991 } },
    sessions: "2/2",
    ...status
  }
})
const agent = (node: string) => ({ node, name: `flock-agent-${node}`, version: "0.1.0" })
const held = (address: string, state: string, ...pods: ReadonlyArray<string>) => ({
  address,
  state,
  since: state === "withdrawn" ? "" : "2026-11-26T11:58:00Z",
  pods
})

const ROWS = nodeRows([
  nodeConfig("host002", 2, { anycast: [held("192.0.2.1", "withdrawn", "shop/b")] }),
  nodeConfig("host001", 1, {
    anycast: [held("192.0.2.1", "announced", "shop/a", "shop/c"), held("2001:db8:a::1", "announced", "dns/d")]
  }, { "flock.fritzlab.net/template": "rack-a" }),
  { metadata: { name: "host004" }, spec: { cidr4: "10.42.4.0/24" } }
], [agent("host001"), agent("host002"), agent("host003")])

const lines = (cells: ReadonlyArray<ReadonlyArray<string>>) => table(cells).map((line) => line.replace(/ {2,}/g, "  "))

describe("kubectl flock", () => {
  it("status: every node that has a NodeConfig or an agent", () => {
    assert.deepStrictEqual(lines(statusTable(ROWS, NOW)), [
      "NODE  READY  REASON  SESSIONS  USED6  USED4  FREE4  ANYCAST  TEMPLATE  VERSION  SINCE",
      "host001  True  FlockReady  2/2  3  3  250  2/2  rack-a  0.1.0  3h",
      "host002  True  FlockReady  2/2  3  3  250  0/1  -  0.1.0  3h",
      "host003  no NodeConfig  -  -  -  -  -  0/0  -  0.1.0  -",
      "host004  no agent  -  -  -  -  -  0/0  -  -  -"
    ])
    assert.deepStrictEqual(nodeRows([], []), [])
    const cut = nodeRows([nodeConfig("a", 1, { truncated: true })], [agent("a")])
    assert.include(lines(statusTable(cut, NOW))[1], "0/0+")
  })

  it("status: a node on trial, one that its template left, and what halts a template", () => {
    const follows = (reason: string) => ({ conditions: [{ type: "FollowsTemplate", status: "True", reason }] })
    const of = (reason: string) =>
      statusTable(
        nodeRows([nodeConfig("a", 1, follows(reason), { "flock.fritzlab.net/template": "rack-a" })], [agent("a")]),
        NOW
      )[1]?.[8]
    assert.deepStrictEqual(["Following", "OnTrial", "Orphaned", ""].map(of), [
      "rack-a",
      "rack-a (on trial)",
      "rack-a (orphaned)",
      "rack-a"
    ])
    const failure = (node: string) => ({ node, generation: 2, reason: "SessionsLost", message: "0 of 2" })
    const template = (observedGeneration: number, failures: ReadonlyArray<object>) => ({
      metadata: { name: "rack-a", generation: 2 },
      status: { conditions: [{ type: "Halted", status: "True", observedGeneration }], failures }
    })
    assert.deepStrictEqual(templateLines([template(2, [failure("a")]), { metadata: { name: "rack-b" } }]), [
      "template rack-a: generation 2 is halted",
      "template rack-a: a: SessionsLost: 0 of 2"
    ])
    // Of an older generation it halts nothing.
    assert.deepStrictEqual(templateLines([template(1, [])]), [])
    // What many say alike is one line.
    const many = Array.from({ length: 13 }, (_, i) => failure(`n${i}`))
    assert.deepStrictEqual(templateLines([template(1, many)]), [
      "template rack-a: n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 3 more: SessionsLost: 0 of 2"
    ])
    const different = many.map((it, i) => ({ ...it, message: `${i} of 20` }))
    assert.strictEqual(templateLines([template(1, different)]).at(-1), "template rack-a: and 3 more failures")
  })

  it("anycast: every address with the nodes that have pods for it", () => {
    assert.deepStrictEqual(lines(anycastTable(addressRows(ROWS), NOW)), [
      "ADDRESS  ANNOUNCED  NODE  STATE  SINCE  PODS",
      "192.0.2.1  1/2  host001  announced  2m  shop/a, shop/c",
      "  host002  withdrawn  -  shop/b",
      "2001:db8:a::1  1/1  host001  announced  2m  dns/d"
    ])
  })

  it("ages as kubectl says them", () => {
    const ago = (seconds: number) => age(new Date(NOW - seconds * 1000).toISOString(), NOW)
    assert.deepStrictEqual([0, 59, 60, 3599, 3600, 86_400, 864_000].map(ago), [
      "0s",
      "59s",
      "1m",
      "59m",
      "1h",
      "1d",
      "10d"
    ])
    assert.deepStrictEqual([age("", NOW), ago(-5)], ["-", "0s"])
  })

  it("why asks the nodes that hold an address and those that could", () => {
    const of = (text: string) => candidates(ROWS, address(text))
    assert.deepStrictEqual(of("192.0.2.1"), ["host001", "host002"])
    assert.deepStrictEqual(of("2001:db8:a:0::1"), ["host001"])
    assert.deepStrictEqual(of("10.42.2.9"), ["host002"])
    assert.deepStrictEqual(of("10.42.4.9"), ["host004"])
    assert.deepStrictEqual(of("198.51.100.1"), [])
  })

  it("why says in one answer who announces it, and what stops the others", () => {
    const answers = [
      nodeAnswer({ node: "a", answer: Result.succeed({ announced: true, answer: "yes", steps: [] }) }),
      nodeAnswer({
        node: "b",
        answer: Result.succeed({
          announced: false,
          answer: "no",
          steps: [{ step: "ready", ok: true, detail: "" }, { step: "session", ok: false, detail: "tor is down" }]
        })
      }),
      nodeAnswer({ node: "c", answer: Result.fail(new KubectlFailed({ args: ["exec"], detail: "gone" })) })
    ]
    assert.deepStrictEqual(whyLines("192.0.2.1", answers), [
      "192.0.2.1 is announced by a.",
      "",
      "  b: session: tor is down",
      "  c: kubectl exec: gone"
    ])
    assert.strictEqual(whyLines("192.0.2.1", answers.slice(1))[0], "192.0.2.1 is announced by no node.")
    assert.deepStrictEqual(whyLines("192.0.2.9", []), ["192.0.2.9 is in no node's prefixes, and no pod has it."])
  })

  it("drain and restore read what the node's own tool says", () => {
    assert.deepStrictEqual([packetsIn({ forwardedPackets: 7 }), packetsIn({})], [7, 0])
    const peers = ["Established", "Connect"].map((state) => ({ state }))
    assert.deepStrictEqual(sessionsIn({ bird: { peers } }), { established: 1, all: 2 })
    assert.deepStrictEqual(sessionsIn({ bird: {} }), { established: 0, all: 0 })
  })

  it("drain knows what a node forwards from what it sends itself, and when it has gone", () => {
    const snmp = [
      "Ip: Forwarding DefaultTTL InReceives ForwDatagrams InDiscards",
      "Ip: 1 64 900 120 3",
      "Icmp: InMsgs",
      "Icmp: 5"
    ]
    assert.strictEqual(forwardedPackets(snmp.join("\n"), "Ip6InReceives   7\nIp6OutForwDatagrams  \t 7\n"), 127)
    // IPv6 is off.
    assert.strictEqual(forwardedPackets(snmp.join("\n"), ""), 120)
    assert.strictEqual(forwardedPackets("", ""), 0)
    const cases: ReadonlyArray<readonly [ReadonlyArray<number>, boolean]> = [
      [[0], false],
      [[0, 10, 20], false],
      [[0, 10, 20, 30], true],
      [[0, 9000, 9010, 9020, 9030], true],
      [[0, 10, 20, 9000], false],
      [[0, 19, 38, 57], true],
      [[0, 20, 40, 60], false],
      // Counters that begin anew, by a restart of the node: that is no rate.
      [[9000, 9010, 10, 20], false]
    ]
    for (const [bytes, quiet] of cases) assert.strictEqual(isQuiet(bytes), quiet, bytes.join(" "))
  })
})
