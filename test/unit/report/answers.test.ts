/**
 * Every situation that the node can be in, and what is said of it: STATUS, the Node's condition, readyz. What Kubernetes
 * makes of each is in docs/reference.md, whose table is held to this one.
 */
import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { type BirdStatus, initial, type PeerStatus } from "../../../src/bird/birdStatus.ts"
import { judge } from "../../../src/cni/status.ts"
import { NodeConfigUnreadable } from "../../../src/kube/KubeApi.ts"
import { nodeCondition, nodeConfigStatus } from "../../../src/report/conditions.ts"
import { type Facts, newAffected, notReady } from "../../../src/report/health.ts"
import type { Newer } from "../../../src/state/format.ts"
import { nodeConfig } from "../fixtures.ts"

const NONE = { current: Option.none(), rejected: Option.none() }
const SERVED = { current: Option.some(nodeConfig()), rejected: Option.none() }
const WITH_PEER = {
  current: Option.some(nodeConfig({
    cidr6: "2001:db8:1::/64",
    bgp: { asn: 65001, peers: [{ address: "192.0.2.1", asn: 65000 }] }
  })),
  rejected: Option.none()
}
const slip = Option.some(new NodeConfigUnreadable({ place: "n1.yaml:3:7", problem: "is not YAML" }))

const peer = (state: string): PeerStatus => ({
  address: "192.0.2.1",
  asn: 65000,
  protocol: "peer_192_0_2_1",
  state,
  since: "",
  lastError: "",
  ipv6: { announced: 0, learned: 0 },
  ipv4: { announced: 0, learned: 0 }
})
const bird = (over: Partial<BirdStatus> = {}): BirdStatus => ({ ...initial(true), up: true, ...over })
const facts = (over: Partial<Facts> = {}): Facts => ({
  nodeConfig: SERVED,
  usage: {},
  bird: bird(),
  antiSpoofing: { state: "on", exempt: [] },
  conflicts: [],
  host: [],
  newer: [],
  ...over
})

const newer = (key: string | undefined): Newer => ({
  file: `/run/flock/allocations/${key ?? "format"}`,
  version: 2,
  by: undefined,
  key,
  hostIfName: undefined,
  addresses: []
})

const full = { ipv4: { cidr: "10.42.1.0/24", used: 253, free: 0 } }
const oneUp = [peer("Active"), peer("Established")]

interface Row {
  readonly facts: Facts
  readonly status: number
  /** Reason of NetworkUnavailable once the grace is over, and within it. */
  readonly condition: readonly [after: string, within: string]
  readonly readyz: 200 | 503
  /** NodeConfig's conditions that are not True. */
  readonly notTrue?: ReadonlyArray<string>
}

const READY = ["FlockReady", "FlockReady"] as const
const CANNOT = ["FlockCannotServe", "FlockCannotServe"] as const

const table: Readonly<Record<string, Row>> = {
  "pods are served, every session is Established": {
    facts: facts({ nodeConfig: WITH_PEER, bird: bird({ peers: [peer("Established")] }) }),
    status: 0,
    condition: READY,
    readyz: 200
  },
  "a session is not Established, another is": {
    facts: facts({ nodeConfig: WITH_PEER, bird: bird({ peers: oneUp }) }),
    status: 0,
    condition: READY,
    readyz: 200
  },
  "no peers are configured": { facts: facts(), status: 0, condition: READY, readyz: 200 },
  "`--no-bird`": { facts: facts({ bird: initial(false) }), status: 0, condition: READY, readyz: 200 },
  "a prefix is full": {
    facts: facts({ usage: full }),
    status: 0,
    condition: READY,
    readyz: 200,
    notTrue: ["AddressesAvailable"]
  },
  "a prefix is in use otherwise on the node's network": {
    facts: facts({ conflicts: ["spec.cidr4 10.42.1.0/24 overlaps 10.42.1.0/24"] }),
    status: 0,
    condition: ["FlockPrefixConflict", "FlockPrefixConflict"],
    readyz: 503,
    notTrue: ["Ready"]
  },
  "a record is of a newer format": {
    facts: facts({ newer: [newer("c1/eth0")] }),
    status: 0,
    condition: READY,
    readyz: 200
  },
  "the folder of records is of a newer format": {
    facts: facts({ newer: [newer(undefined)] }),
    status: 0,
    condition: ["FlockNewerState", "FlockNewerState"],
    readyz: 503,
    notTrue: ["Ready"]
  },
  "the host's part of a pod's network cannot be put right": {
    facts: facts({ host: ["the host sends what is for 10.42.1.2 elsewhere"] }),
    status: 0,
    condition: READY,
    readyz: 200,
    notTrue: ["HostAsBuilt"]
  },
  "the newest NodeConfig is not valid, the former is in force": {
    facts: facts({ nodeConfig: { ...SERVED, rejected: slip } }),
    status: 0,
    condition: READY,
    readyz: 200,
    notTrue: ["Ready"]
  },
  "no session is Established": {
    facts: facts({ nodeConfig: WITH_PEER, bird: bird({ peers: [peer("Active")] }) }),
    status: 0,
    condition: ["FlockNoRoute", "FlockReady"],
    readyz: 503,
    notTrue: ["Ready", "BGPEstablished"]
  },
  "BIRD does not answer": {
    facts: facts({ bird: bird({ up: false }) }),
    status: 0,
    condition: ["FlockNoRoute", "FlockReady"],
    readyz: 503,
    notTrue: ["Ready", "BIRDReady"]
  },
  "`flock-agent withdraw`": {
    facts: facts({ nodeConfig: WITH_PEER, bird: bird({ peers: [peer("Down")], drained: true }) }),
    status: 0,
    condition: ["FlockWithdrawn", "FlockWithdrawn"],
    readyz: 503,
    notTrue: ["Ready", "BGPEstablished"]
  },
  "no NodeConfig": {
    facts: facts({ nodeConfig: NONE }),
    status: 50,
    condition: CANNOT,
    readyz: 503,
    notTrue: ["Ready"]
  },
  "no valid NodeConfig since the start": {
    facts: facts({ nodeConfig: { ...NONE, rejected: slip } }),
    status: 50,
    condition: CANNOT,
    readyz: 503,
    notTrue: ["Ready"]
  },
  "it is not known whether there is one": {
    facts: facts({ nodeConfig: { ...NONE, unknown: "403" } }),
    status: 50,
    condition: CANNOT,
    readyz: 503,
    notTrue: ["Ready"]
  },
  "no NodeConfig, and BIRD does not answer": {
    facts: facts({ nodeConfig: NONE, bird: bird({ up: false }) }),
    status: 51,
    condition: CANNOT,
    readyz: 503,
    notTrue: ["Ready", "BIRDReady"]
  },
  "the API server has not been heard for 3 minutes": {
    facts: facts({ api: { watches: [{ resource: "pods", ever: true, silentSeconds: 180 }], refused: [] } }),
    status: 0,
    condition: READY,
    readyz: 503,
    notTrue: ["Ready"]
  }
}

describe("what the node says of itself", () => {
  it.each(Object.entries(table))("%s", (_, row) => {
    assert.strictEqual(judge(row.facts)?.code ?? 0, row.status)
    assert.deepStrictEqual(
      [false, true].map((grace) => nodeCondition(row.facts, { grace }).reason),
      [...row.condition]
    )
    for (const grace of [false, true]) {
      const { reason, status } = nodeCondition(row.facts, { grace })
      assert.strictEqual(status, reason === "FlockReady" ? "False" : "True")
    }
    assert.strictEqual(notReady(row.facts) === undefined ? 200 : 503, row.readyz)
    const { conditions } = nodeConfigStatus(row.facts)
    assert.deepStrictEqual(
      conditions.filter(({ status }) => status !== "True").map(({ type }) => type),
      [...(row.notTrue ?? [])]
    )
  })

  it("counts a NodeConfig's peers before BIRD knows of them: a new node is not ready for a moment in between", () => {
    assert.strictEqual(nodeCondition(facts({ nodeConfig: WITH_PEER }), { grace: false }).reason, "FlockNoRoute")
  })

  it("STATUS fails only where nothing can be added, for whoever fails it loses the node's pods", () => {
    for (const [name, row] of Object.entries(table)) {
      assert.strictEqual(row.status !== 0, newAffected(row.facts) !== undefined, name)
    }
  })

  it("is what docs/reference.md says", () => {
    const text = readFileSync(resolve(import.meta.dirname, "../../../docs/reference.md"), "utf8")
    const section = text.slice(text.indexOf("\n## What the node says of itself\n"))
    const documented = section.slice(0, section.indexOf("\n## ", 1)).split("\n")
      .filter((line) => /^\|.*\| `\d+` \|/.test(line))
      .map((line) => line.split("|").slice(1, 5).map((cell) => cell.trim()))
    assert.deepStrictEqual(
      documented,
      Object.entries(table).map(([name, { condition: [after, within], readyz, status }]) => [
        name,
        `\`${status}\``,
        after === within ? `\`${after}\`` : `\`${after}\` after 30 s`,
        `\`${readyz}\``
      ])
    )
  })
})
