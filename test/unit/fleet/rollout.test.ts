/** A fleet in memory: every node decides, and what it decides is done to the objects that all of them see. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import {
  GENERATION_ANNOTATION,
  HASH_ANNOTATION,
  ORPHANED_LABEL,
  PROBATION_ANNOTATION,
  TEMPLATE_LABEL
} from "../../../src/domain/NodeConfig.ts"
import {
  decodeTemplate,
  type NodeConfigTemplate,
  RESUME_ANNOTATION,
  type TemplateFailure
} from "../../../src/domain/NodeConfigTemplate.ts"
import type { Action, Conflict, FellBack, Health } from "../../../src/fleet/decision.ts"
import { place } from "../../../src/fleet/failures.ts"
import type { NodeFacts } from "../../../src/fleet/resolve.ts"
import { decide } from "../../../src/fleet/rollout.ts"
import { PROBATION_MILLIS } from "../../../src/fleet/trial.ts"

interface TemplateObject {
  spec: { nodeSelector: object; priority?: number; rollout: { seconds: number }; template: Record<string, unknown> }
  generation: number
  editedAt: number
  resume?: string
  failures: Map<string, TemplateFailure>
}

interface Node {
  facts: NodeFacts
  nodeConfig: Record<string, unknown> | undefined
  /** What its agent saw last. */
  seen: number
  fellBack?: FellBack | undefined
  health: (spec: Record<string, unknown>) => Partial<Health>
}

class Fleet {
  now = Date.parse("2026-11-26T00:00:00Z")
  readonly templates = new Map<string, TemplateObject>()
  readonly nodes = new Map<string, Node>()
  readonly log: Array<string> = []

  template(name: string, template: Record<string, unknown>, more: Partial<TemplateObject["spec"]> = {}) {
    const before = this.templates.get(name)
    this.templates.set(name, {
      spec: { nodeSelector: {}, rollout: { seconds: 300 }, ...before?.spec, ...more, template },
      generation: (before?.generation ?? 0) + 1,
      editedAt: this.now,
      failures: before?.failures ?? new Map()
    })
  }

  node(name: string, facts: Partial<NodeFacts> = {}, health: Node["health"] = () => ({})) {
    const defaults = { labels: {}, annotations: {}, podCIDRs: [], gateways: {} }
    this.nodes.set(name, { facts: { name, ...defaults, ...facts }, nodeConfig: undefined, seen: 0, health })
  }

  readonly #decoded = new Map<string, NodeConfigTemplate>()

  /** Decoded once for all nodes that see the same. */
  #templates() {
    return [...this.templates].map(([name, object]) => {
      const key = JSON.stringify([name, object, [...object.failures]])
      const known = this.#decoded.get(key) ?? this.#decode(name, object)
      this.#decoded.set(key, known)
      return known
    })
  }

  #decode(name: string, { editedAt, failures, generation, resume, spec }: TemplateObject) {
    return Result.getOrThrow(decodeTemplate({
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfigTemplate",
      metadata: {
        name,
        uid: name,
        generation,
        managedFields: [{ time: new Date(editedAt).toISOString() }],
        ...(resume === undefined ? {} : { annotations: { [RESUME_ANNOTATION]: resume } })
      },
      spec,
      status: { failures: [...failures.values()] }
    }))
  }

  decide(name: string, conflict?: Conflict) {
    const { facts, fellBack, health, nodeConfig, seen } = this.of(name)
    const spec = (nodeConfig?.["spec"] ?? {}) as Record<string, unknown>
    return decide({
      node: facts,
      templates: this.#templates(),
      nodeConfig,
      health: {
        generation: seen,
        rejected: undefined,
        refusedByBird: undefined,
        established: 1,
        sessions: 1,
        trouble: "",
        fewerFor: Infinity,
        ...health(spec)
      },
      conflict,
      fellBack,
      now: this.now,
      probationMillis: PROBATION_MILLIS
    })
  }

  of(name: string): Node {
    const node = this.nodes.get(name)
    if (node === undefined) throw new Error(name)
    return node
  }

  #perform(name: string, action: Action) {
    const node = this.of(name)
    const metadata = (node.nodeConfig?.["metadata"] ?? {}) as Record<string, unknown>
    switch (action._tag) {
      case "Apply": {
        const { generation, hash, probation, spec, template } = action.wanted
        const changed = JSON.stringify(spec) !== JSON.stringify(node.nodeConfig?.["spec"])
        node.nodeConfig = {
          metadata: {
            generation: Number(metadata["generation"] ?? 0) + (changed ? 1 : 0),
            labels: { [TEMPLATE_LABEL]: template },
            annotations: {
              [GENERATION_ANNOTATION]: String(generation),
              [HASH_ANNOTATION]: hash,
              ...(probation === undefined ? {} : { [PROBATION_ANNOTATION]: JSON.stringify(probation) })
            }
          },
          spec
        }
        node.seen = Number((node.nodeConfig["metadata"] as Record<string, unknown>)["generation"])
        return
      }
      case "Orphan":
        metadata["labels"] = { ...metadata["labels"] as object, [ORPHANED_LABEL]: "true" }
        return
      case "Report": {
        const failures = this.templates.get(action.template)?.failures
        if (action.failure === undefined) failures?.delete(name)
        else failures?.set(name, action.failure)
      }
    }
  }

  /** All nodes, again and again, until nobody has anything to do. */
  settle() {
    for (let round = 0; round < 20; round++) {
      let quiet = true
      for (const name of this.nodes.keys()) {
        for (const action of this.decide(name).actions) {
          quiet = false
          this.#perform(name, action)
          this.log.push(`${name} ${action._tag}${action._tag === "Apply" ? ` ${action.wanted.generation}` : ""}`)
        }
      }
      if (quiet) return
    }
    throw new Error(`never quiet: ${this.log.slice(-8).join(", ")}`)
  }

  /** Second by second, which is more often than anybody looks. */
  pass(seconds: number) {
    for (let i = 0; i < seconds; i++) {
      this.now += 1000
      // Long waits have no news of their own.
      if (seconds <= 100 || i % 2 === 1) this.settle()
    }
  }

  mtu = (name: string) => (this.of(name).nodeConfig?.["spec"] as { readonly mtu?: number } | undefined)?.mtu
  followed = (name: string) => {
    const metadata = this.of(name).nodeConfig?.["metadata"] as
      | { readonly annotations?: Record<string, string> }
      | undefined
    return Number(metadata?.annotations?.[GENERATION_ANNOTATION] ?? 0)
  }
  failures = (name: string) =>
    [...this.templates.get(name)?.failures.values() ?? []].map((it) => `${it.node} ${it.reason}`)
}

const good = (mtu: number) => ({ cidr4: "10.42.1.0/24", mtu })
const NAMES = Array.from({ length: 20 }, (_, i) => `host${String(i + 1).padStart(3, "0")}`)

/** Those who have nothing do not all write at one moment. */
const FIRST_SECONDS = 10

const fleet = (health: (name: string) => Node["health"] = () => () => ({})) => {
  const it = new Fleet()
  for (const name of NAMES) it.node(name, {}, health(name))
  it.template("rack-a", good(1500))
  it.pass(FIRST_SECONDS)
  return it
}

/** Nodes in the order in which they take a generation. */
const inOrder = (generation: number) => NAMES.toSorted((a, b) => place(a, generation) - place(b, generation))

describe("a roll-out", () => {
  it("gives nodes that have nothing theirs within ten seconds, one that joins later at once", () => {
    const it = new Fleet()
    for (const name of NAMES) it.node(name)
    it.template("rack-a", good(1500))
    const counts = Array.from({ length: FIRST_SECONDS }, () => {
      it.pass(1)
      return NAMES.filter((name) => it.mtu(name) === 1500).length
    })
    assert.strictEqual(counts.at(-1), NAMES.length)
    for (const [i, count] of counts.entries()) assert.isAtMost(Math.abs(count / NAMES.length - (i + 1) / 10), 0.3)
    it.node("host100")
    it.settle()
    assert.strictEqual(it.mtu("host100"), 1500)
    it.pass(PROBATION_MILLIS / 1000)
    const quiet = it.log.length
    it.pass(600)
    assert.strictEqual(it.log.length, quiet)
  })

  it("spreads an edit over its seconds, in another order each time", () => {
    const it = fleet()
    it.pass(100)
    it.template("rack-a", good(9000))
    const reached: Array<string> = []
    for (let second = 0; second < 300; second++) {
      it.pass(1)
      reached.push(...NAMES.filter((name) => it.mtu(name) === 9000 && !reached.includes(name)))
      const share = reached.length / NAMES.length
      assert.isAtMost(Math.abs(share - second / 300), 0.3)
    }
    assert.deepStrictEqual(reached.toSorted(), NAMES)
    const steps = inOrder(2).map((name) => Math.floor(place(name, 2) * 300))
    assert.deepStrictEqual(reached.map((name) => Math.floor(place(name, 2) * 300)), steps)
    assert.notDeepEqual(inOrder(2), inOrder(3))
  })

  it("0 seconds: all at once", () => {
    const it = fleet()
    it.template("rack-a", good(9000), { rollout: { seconds: 0 } })
    it.settle()
    assert.deepStrictEqual(NAMES.map(it.mtu), NAMES.map(() => 9000))
  })

  for (
    const [what, reason, health] of [
      ["is refused by the agent", "Rejected", { rejected: "spec.mtu: no" }],
      ["is refused by BIRD", "RefusedByBIRD", { refusedByBird: "bird.conf:1: syntax error" }],
      ["ends the sessions", "SessionsLost", { established: 0 }]
    ] as const
  ) {
    it(`stops at the first nodes whose NodeConfig ${what}, which go back`, () => {
      const it = fleet(() => ({ mtu }) => mtu === 9000 ? health : {})
      it.pass(100)
      it.template("rack-a", good(9000))
      it.pass(1000)
      const failed = it.failures("rack-a")
      // Those that began before the first had failed.
      const begun = inOrder(2).filter((name) =>
        place(name, 2) * 300 <= place(inOrder(2)[0] ?? "", 2) * 300 + (reason === "Rejected" ? 1 : 62)
      )
      assert.isAtMost(failed.length, begun.length)
      assert.isAtLeast(failed.length, 1)
      assert.isTrue(failed.every((it) => it.endsWith(reason)))
      assert.include(failed, `${inOrder(2)[0]} ${reason}`)
      assert.deepStrictEqual(NAMES.map(it.mtu), NAMES.map(() => 1500))
      assert.include(it.decide(inOrder(2).at(-1) ?? "").words, "halted by")
      assert.include(it.decide(inOrder(2)[0] ?? "").words, "again")

      // The operator's next edit goes on, and clears what was said.
      it.template("rack-a", good(1400))
      it.pass(400)
      assert.deepStrictEqual(NAMES.map(it.mtu), NAMES.map(() => 1400))
      assert.deepStrictEqual(it.failures("rack-a"), [])
    })
  }

  it("an edit that takes the bad one back needs no trial", () => {
    const it = fleet(() => ({ mtu }) => mtu === 9000 ? { rejected: "no" } : {})
    it.pass(100)
    it.template("rack-a", good(9000))
    it.pass(400)
    it.template("rack-a", good(1500))
    it.settle()
    assert.deepStrictEqual(NAMES.map(it.followed), NAMES.map(() => 3))
    assert.deepStrictEqual(it.failures("rack-a"), [])
  })

  it("goes on where an operator resumes it; a node that fails once more stays behind, alone", () => {
    const bad = inOrder(2)[0] ?? ""
    const it = fleet((name) => ({ mtu }) => mtu === 9000 && name === bad ? { rejected: "no" } : {})
    it.pass(100)
    it.template("rack-a", good(9000))
    it.pass(400)
    const template = it.templates.get("rack-a")
    assert.isDefined(template)
    if (template) template.resume = "1"
    it.pass(400)
    assert.isAtMost(NAMES.filter((name) => it.mtu(name) === 9000).length, 2)
    if (template) template.resume = "2"
    it.pass(400)
    assert.deepStrictEqual(NAMES.filter((name) => it.mtu(name) !== 9000), [bad])
    assert.deepStrictEqual(it.failures("rack-a"), [`${bad} Rejected`])
    const quiet = it.log.length
    it.pass(400)
    assert.strictEqual(it.log.length, quiet)
  })

  it("what is refused before it is written is written nowhere, and halts", () => {
    const it = fleet()
    it.pass(100)
    it.template("rack-a", { cidr4: "10.42.1.1/24", mtu: 9000 })
    it.pass(400)
    assert.deepStrictEqual(NAMES.map(it.mtu), NAMES.map(() => 1500))
    const [failure] = it.templates.get("rack-a")?.failures.values() ?? []
    assert.strictEqual(failure?.reason, "Invalid")
    // The first says it for all.
    assert.deepStrictEqual(it.failures("rack-a"), [`${inOrder(2)[0]} Invalid`])
    assert.include(failure?.message, "spec.template.cidr4")
  })

  it("a node without a label that is asked for is alone with that", () => {
    const it = new Fleet()
    it.node("a", { labels: { mtu: "1500" } })
    it.node("b")
    it.template("t", { cidr4: "10.42.1.0/24", mtu: { fromLabel: "mtu" } })
    it.pass(300)
    assert.deepStrictEqual([it.mtu("a"), it.mtu("b")], [1500, undefined])
    assert.deepStrictEqual(it.failures("t"), ["b Unresolved"])
    // Its label comes, and another's changes: at once, and nobody else is met.
    it.of("b").facts = { ...it.of("b").facts, labels: { mtu: "9000" } }
    it.of("a").facts = { ...it.of("a").facts, labels: { mtu: "1400" } }
    it.settle()
    assert.deepStrictEqual([it.mtu("a"), it.mtu("b")], [1400, 9000])
    assert.deepStrictEqual(it.failures("t"), [])
  })

  it("a node whose own label is wrong goes back alone, and tries another value of it", () => {
    const it = new Fleet()
    const health: Node["health"] = ({ mtu }) => mtu === 9000 ? { established: 0, trouble: "tor: Bad peer AS" } : {}
    it.node("a", { labels: { mtu: "1500" } }, health)
    it.template("t", { cidr4: "10.42.1.0/24", mtu: { fromLabel: "mtu" } })
    const label = (mtu: string) => it.of("a").facts = { ...it.of("a").facts, labels: { mtu } }
    it.pass(100)
    label("9000")
    it.settle()
    assert.strictEqual(it.mtu("a"), 9000)
    it.pass(100)
    assert.strictEqual(it.mtu("a"), 1500)
    assert.deepStrictEqual(it.failures("t"), ["a SessionsLost"])
    const [failure] = it.templates.get("t")?.failures.values() ?? []
    assert.deepInclude(failure, {
      alone: true,
      message: "1 sessions were Established before, and 0 of 1 60 s later: tor: Bad peer AS"
    })
    // Nobody waits for it: a node that comes now takes the template.
    it.node("b", { labels: { mtu: "1400" } })
    it.pass(10)
    assert.strictEqual(it.mtu("b"), 1400)
    const quiet = it.log.length
    it.pass(300)
    assert.strictEqual(it.log.length - quiet, 1, "b's trial is over, and a does not try again")
    label("1480")
    it.settle()
    assert.deepStrictEqual([it.mtu("a"), it.failures("t")], [1480, []])
    label("9000")
    it.pass(100)
    label("1480")
    it.settle()
    assert.deepStrictEqual([it.mtu("a"), it.failures("t")], [1480, []])
  })

  it("a trial that failed while the API server was away has failed, though sessions are back since", () => {
    const it = new Fleet()
    it.node("a", {}, ({ mtu }) => mtu === 9000 ? { established: 0 } : {})
    it.template("t", good(1500), { rollout: { seconds: 0 } })
    it.pass(100)
    assert.isUndefined(it.decide("a").fallBack)
    it.template("t", good(9000))
    it.settle()
    it.now += PROBATION_MILLIS
    const { fallBack } = it.decide("a")
    assert.deepInclude(fallBack, { observed: 2, spec: good(1500) })
    assert.strictEqual(fallBack?.failure.reason, "SessionsLost")
    // The node goes back by itself, and its sessions are back.
    it.of("a").health = () => ({})
    assert.include(it.decide("a").words, "follows")
    it.of("a").fellBack = fallBack
    it.settle()
    assert.deepStrictEqual([it.mtu("a"), it.failures("t")], [1500, ["a SessionsLost"]])
    // Of another NodeConfig it says nothing.
    it.template("t", good(1400))
    it.pass(100)
    assert.deepStrictEqual([it.mtu("a"), it.failures("t")], [1400, []])
  })

  it("says what stands in the way: of the condition, and of the template's status", () => {
    const it = new Fleet()
    it.node("a")
    it.template("t", { cidrs: "podCIDRs" })
    it.pass(100)
    const missing = it.decide("a").trouble
    assert.strictEqual(missing?.reason, "Unresolved")
    assert.include(
      missing?.message,
      "the Node has no podCIDRs: does kube-controller-manager run with --allocate-node-cidrs=true"
    )
    it.template("t", good(1500))
    it.pass(100)
    assert.isUndefined(it.decide("a").trouble)
    it.template("t", good(9000), { rollout: { seconds: 0 } })
    const decision = it.decide("a")
    const [apply] = decision.actions
    const hash = apply?._tag === "Apply" ? apply.wanted.hash : ""
    const refused = (observed: number) => it.decide("a", { hash, observed, message: "spec.mtu: conflict with kubectl" })
    assert.include(refused(1).words, "edited by hand: spec.mtu: conflict with kubectl")
    assert.strictEqual(refused(1).trouble?.reason, "Conflict")
    // Edited since, it is tried again.
    assert.strictEqual(refused(0).actions.at(-1)?._tag, "Apply")
    it.of("a").facts = { ...it.of("a").facts, labels: { rack: "b" } }
    it.of("a").nodeConfig = undefined
    it.template("t", good(9000), { nodeSelector: { matchLabels: { rack: "a" } } })
    assert.strictEqual(it.decide("a").trouble?.reason, "NoTemplate")
  })

  it("goes back to what was proven, not to what was on trial", () => {
    const it = new Fleet()
    it.node("a", {}, ({ mtu }) => mtu === 9001 ? { rejected: "no" } : {})
    it.template("t", good(1500), { rollout: { seconds: 0 } })
    it.pass(100)
    it.template("t", good(9000))
    it.pass(10)
    it.template("t", good(9001))
    it.settle()
    assert.strictEqual(it.mtu("a"), 1500)
  })

  it("a trial goes on over a restart, for it stands in the object", () => {
    let down = false
    const it = new Fleet()
    it.node("a", {}, () => down ? { established: 0 } : {})
    it.template("t", good(1500), { rollout: { seconds: 0 } })
    it.pass(100)
    it.template("t", good(9000))
    it.settle()
    down = true
    it.pass(30)
    // The agent is away for the rest of the trial, and has seen nothing yet when it is back.
    it.now += 60_000
    it.of("a").seen = 0
    it.settle()
    assert.strictEqual(it.mtu("a"), 9000)
    it.of("a").seen = 2
    it.settle()
    assert.strictEqual(it.mtu("a"), 1500)
    assert.deepStrictEqual(it.failures("t"), ["a SessionsLost"])
  })

  it("sessions that fall at the end of a trial may come back once more, but not come and go for ever", () => {
    for (
      const [what, after, mtu] of [
        ["they are back", { established: 1 }, 9000],
        ["they stay away", { established: 0, fewerFor: 21_000 }, 1500],
        ["they fell again", { established: 0, fewerFor: 1000 }, 9000]
      ] as const
    ) {
      const it = new Fleet()
      it.node("a")
      it.template("t", good(1500), { rollout: { seconds: 0 } })
      it.pass(100)
      it.template("t", good(9000))
      it.settle()
      it.of("a").health = () => ({ established: 0, fewerFor: 5000 })
      it.now += PROBATION_MILLIS
      it.settle()
      assert.deepStrictEqual([it.mtu("a"), it.failures("t")], [9000, []], what)
      assert.isAtMost(it.decide("a").lookIn ?? Infinity, 20_000, what)
      it.of("a").health = () => after
      it.pass(20)
      assert.strictEqual(it.mtu("a"), mtu, what)
      it.of("a").health = () => ({ established: 0, fewerFor: 1000 })
      it.now += PROBATION_MILLIS
      it.settle()
      assert.strictEqual(it.mtu("a"), after.established === 1 ? 9000 : 1500, what)
    }
  })

  it("a node that had no sessions before loses none", () => {
    const it = new Fleet()
    it.node("a", {}, () => ({ established: 0 }))
    it.template("t", good(1500), { rollout: { seconds: 0 } })
    it.pass(100)
    it.template("t", good(9000))
    it.pass(100)
    assert.deepStrictEqual([it.mtu("a"), it.failures("t")], [9000, []])
  })
})

describe("a NodeConfig", () => {
  it("that somebody wrote by hand is never touched", () => {
    const it = new Fleet()
    it.node("a")
    it.of("a").nodeConfig = { metadata: { generation: 1, labels: { other: "x" } }, spec: good(1234) }
    it.template("t", good(1500))
    it.pass(400)
    assert.deepStrictEqual([it.mtu("a"), it.log], [1234, []])
    assert.include(it.decide("a").words, "by hand")
  })

  it("stays, and is labelled, where its template is deleted or fits no longer; and follows again", () => {
    for (
      const leave of [
        (it: Fleet) => it.templates.delete("t"),
        (it: Fleet) => it.of("a").facts = { ...it.of("a").facts, labels: {} }
      ]
    ) {
      const it = new Fleet()
      it.node("a", { labels: { rack: "a" } })
      it.template("t", good(1500), { nodeSelector: { matchLabels: { rack: "a" } } })
      it.pass(100)
      leave(it)
      it.pass(100)
      const labels = () =>
        (it.of("a").nodeConfig?.["metadata"] as { readonly labels: Record<string, string> } | undefined)?.labels ?? {}
      assert.strictEqual(it.mtu("a"), 1500)
      assert.strictEqual(labels()[ORPHANED_LABEL], "true")
      it.of("a").facts = { ...it.of("a").facts, labels: { rack: "a" } }
      it.template("t", good(1500), { nodeSelector: { matchLabels: { rack: "a" } } })
      it.pass(400)
      assert.notProperty(labels(), ORPHANED_LABEL)
    }
  })

  it("goes back though its template was deleted, where the edit had ended its sessions", () => {
    const it = new Fleet()
    it.node("a", {}, ({ mtu }) => mtu === 9000 ? { established: 0 } : {})
    it.template("t", good(1500), { rollout: { seconds: 0 } })
    it.pass(100)
    it.template("t", good(9000))
    it.settle()
    it.templates.delete("t")
    it.pass(30)
    assert.strictEqual(it.mtu("a"), 9000)
    it.pass(40)
    assert.strictEqual(it.mtu("a"), 1500)
    const metadata = it.of("a").nodeConfig?.["metadata"] as { readonly labels: Record<string, string> }
    assert.strictEqual(metadata.labels[ORPHANED_LABEL], "true")
    const quiet = it.log.length
    it.pass(100)
    assert.strictEqual(it.log.length, quiet)
  })

  it("two templates of one priority: neither is followed, and both say so", () => {
    const it = new Fleet()
    it.node("a")
    it.template("t", good(1500))
    it.pass(100)
    it.template("u", good(9000))
    it.pass(400)
    assert.strictEqual(it.mtu("a"), 1500)
    assert.deepStrictEqual([it.failures("t"), it.failures("u")], [["a Tie"], ["a Tie"]])
    it.template("u", good(9000), { priority: 1 })
    it.pass(400)
    assert.strictEqual(it.mtu("a"), 9000)
    assert.deepStrictEqual([it.failures("t"), it.failures("u")], [[], []])
  })

  it("a new template over all is spread like an edit", () => {
    const it = fleet()
    it.pass(100)
    it.template("all", good(9000), { priority: 1 })
    it.settle()
    assert.isAtMost(NAMES.filter((name) => it.mtu(name) === 9000).length, 3)
    it.pass(300)
    assert.deepStrictEqual(NAMES.map(it.mtu), NAMES.map(() => 9000))
  })
})
