/** When a node counts: tables, and a whole fleet in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { GENERATION_ANNOTATION, ORPHANED_LABEL, TEMPLATE_LABEL } from "../../../src/domain/NodeConfig.ts"
import type { TemplateCounts } from "../../../src/domain/NodeConfigTemplate.ts"
import {
  backoff,
  counted,
  look,
  NEWEST,
  postponed,
  REFRESH_MILLIS,
  type Seen,
  spreadOf,
  type State
} from "../../../src/fleet/counting.ts"

const NONE: State = new Map()

const nodeConfig = (version: number, generation = 1, ready = "True", labels: object = { [TEMPLATE_LABEL]: "t" }) => ({
  metadata: { resourceVersion: String(version), labels, annotations: { [GENERATION_ANNOTATION]: String(generation) } },
  status: { conditions: [{ type: "Ready", status: ready }] }
})
const counts = (resourceVersion: number, more: Partial<TemplateCounts> = {}): TemplateCounts => ({
  nodes: 3,
  updated: 3,
  ready: 3,
  observedGeneration: 1,
  resourceVersion: String(resourceVersion),
  at: "2026-11-26T00:00:00Z",
  ...more
})
const seen = (own: unknown, its: TemplateCounts | undefined, more: Partial<Seen> = {}, generation = 1): Seen => ({
  templates: [{ name: "t", generation, counts: its }],
  nodeConfig: own,
  now: 0,
  chance: 1,
  latency: 0,
  ...more
})

/** Milliseconds until this node counts if nothing more happens. */
const wait = (state: State, it: Seen): number | undefined => look(state, it).lookIn
const SOON = spreadOf(3)

describe("a node that looks at a template's counts", () => {
  for (
    const [what, given, expected] of [
      ["that nobody has counted", seen(undefined, undefined), spreadOf(1000)],
      ["that are of an older generation", seen(undefined, counts(5), {}, 2), SOON],
      ["that cover its own NodeConfig", seen(nodeConfig(5), counts(5)), REFRESH_MILLIS + 60_000],
      ["that are older than its own NodeConfig", seen(nodeConfig(6), counts(5)), SOON],
      [
        "of a template that it does not follow",
        seen(nodeConfig(6, 1, "True", {}), counts(5)),
        2 * REFRESH_MILLIS + 60_000
      ],
      [
        "of a template that left it",
        seen(nodeConfig(6, 1, "True", { [TEMPLATE_LABEL]: "t", [ORPHANED_LABEL]: "true" }), counts(5)),
        2 * REFRESH_MILLIS + 60_000
      ]
    ] as const
  ) {
    it(`waits as it should for those ${what}`, () => assert.closeTo(wait(NONE, given) ?? -1, expected, 1))
  }

  it("has nothing to wait for without templates", () => {
    assert.strictEqual(wait(NONE, { ...seen(undefined, undefined), templates: [] }), undefined)
  })

  const settled = look(NONE, seen(nodeConfig(5), counts(5))).state

  for (
    const [what, own, soon] of [
      ["has followed another generation", nodeConfig(6, 2), true],
      ["is not Ready any more", nodeConfig(6, 1, "False"), true],
      ["has lost its label", nodeConfig(6, 1, "True", {}), true],
      ["has been orphaned", nodeConfig(6, 1, "True", { [TEMPLATE_LABEL]: "t", [ORPHANED_LABEL]: "true" }), true],
      ["is gone", undefined, true],
      ["has another status, of the same parts", nodeConfig(9), false]
    ] as const
  ) {
    it(`counts soon when its NodeConfig ${what}: ${soon}`, () => {
      assert.closeTo(wait(settled, seen(own, counts(5))) ?? -1, soon ? SOON : REFRESH_MILLIS + 60_000, 1)
    })
  }

  it("is content with another's count that is as new as its change, and with no other", () => {
    const changed = nodeConfig(8, 2)
    const behind = look(settled, seen(changed, counts(5))).state
    const covered = look(behind, seen(changed, counts(8, { at: "later" }), { now: 100 }))
    assert.closeTo(covered.lookIn ?? -1, REFRESH_MILLIS + 60_000, 1)
    // A later status write of its own is no change.
    const after = look(covered.state, seen(nodeConfig(12, 2), counts(8, { at: "later" }), { now: 200 }))
    assert.isAbove(after.lookIn ?? -1, REFRESH_MILLIS)
    // What was counted before the change leaves it behind; it waits anew.
    const stays = look(behind, seen(changed, counts(7, { at: "later" }), { now: 1000 }))
    assert.closeTo(stays.lookIn ?? -1, SOON, 1)
  })

  it("does not wait longer for changing again", () => {
    const first = look(settled, seen(nodeConfig(8, 2), counts(5))).state
    const second = look(first, seen(nodeConfig(9, 3), counts(5), { now: 1500 }))
    assert.closeTo(second.lookIn ?? -1, SOON - 1500, 1)
    const due = look(second.state, seen(nodeConfig(9, 3), counts(5), { now: SOON }))
    assert.deepStrictEqual(due.count, { template: "t", version: "9" })
  })

  it("asks for the newest after its NodeConfig is gone, and only its own count is enough", () => {
    const gone = look(settled, seen(undefined, counts(5)))
    const foreign = look(gone.state, seen(undefined, counts(99, { at: "later" }), { now: 10_000, chance: 0 }))
    assert.deepStrictEqual(foreign.count, { template: "t", version: NEWEST })
    const own = counted(foreign.state, "t", "100")
    const after = look(own, seen(undefined, counts(100, { at: "now" }), { now: 10_000 }))
    assert.isAbove(after.lookIn ?? -1, REFRESH_MILLIS)
  })

  it("counts again where nothing changed, though neither version nor second are others", () => {
    const due = look(settled, seen(nodeConfig(5), counts(5), { now: 2 * REFRESH_MILLIS }))
    assert.deepStrictEqual(due.count, { template: "t", version: "5" })
    const after = look(counted(due.state, "t", "5"), seen(nodeConfig(5), counts(5), { now: 2 * REFRESH_MILLIS }))
    assert.deepStrictEqual([after.count, (after.lookIn ?? 0) > REFRESH_MILLIS], [undefined, true])
  })

  it("waits after a count that failed", () => {
    const behind = look(settled, seen(nodeConfig(8, 2), counts(5), { chance: 0 }))
    assert.isDefined(behind.count)
    const later = look(
      postponed(behind.state, "t", { now: 0, chance: 0, latency: 0 }, 10_000),
      seen(nodeConfig(8, 2), counts(5))
    )
    assert.deepStrictEqual([later.count, later.lookIn], [undefined, 10_000])
  })

  it("waits from nothing to the most, and of many most wait long", () => {
    for (const nodes of [0, 1, 3, 5000, 1e9]) {
      assert.closeTo(backoff(1000, nodes, 0), 0, 1e-6)
      assert.closeTo(backoff(1000, nodes, 1), 1000, 1e-6)
    }
    assert.isAbove(backoff(1000, 5000, 0.5), 900)
    assert.deepStrictEqual([spreadOf(3), spreadOf(1000), spreadOf(100_000)], [2030, 12_000, 30_000])
    assert.deepStrictEqual([spreadOf(3, 10_000), spreadOf(100_000, 20)], [300_000, 30_000])
  })
})

/** Numbers from 0 to 1, the same in each run. */
const chances = (seed: number) => {
  const state = { value: seed }
  return () => {
    // mulberry32
    state.value = (state.value + 0x6d2b79f5) | 0
    const a = Math.imul(state.value ^ (state.value >>> 15), 1 | state.value)
    const b = (a + Math.imul(a ^ (a >>> 7), 61 | a)) ^ a
    return ((b ^ (b >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `n` nodes and one API server: a list takes `listMillis`, and what is written is seen everywhere that much later. */
class Fleet {
  readonly #chance = chances(1)
  readonly #states: Array<State>
  readonly #own: Array<ReturnType<typeof nodeConfig>>
  readonly #busy: Array<{ readonly end: number; readonly version: number; readonly updated: number } | undefined>
  readonly #listMillis: number
  /** When each has to look again; a write has all look at once. */
  readonly #next: Array<number>
  version = 1
  generation = 1
  counts: TemplateCounts | undefined
  now = 0
  readonly lists: Array<number> = []
  writes = 0

  constructor(n: number, listMillis: number, its: TemplateCounts | undefined) {
    this.#listMillis = listMillis
    this.counts = its
    this.#states = Array.from({ length: n }, () => NONE)
    this.#own = Array.from({ length: n }, () => nodeConfig(1))
    this.#next = Array.from({ length: n }, () => 0)
    this.#busy = Array.from({ length: n }, () => undefined)
  }

  edit() {
    this.generation++
    this.#next.fill(0)
  }

  follow(i: number) {
    this.version++
    this.#own[i] = nodeConfig(this.version, this.generation)
    this.#next[i] = 0
  }

  #updated = () =>
    this.#own.filter(({ metadata }) => metadata.annotations[GENERATION_ANNOTATION] === String(this.generation)).length

  #step(i: number) {
    const busy = this.#busy[i]
    if (busy !== undefined) {
      if (busy.end > this.now) return
      this.#busy[i] = undefined
      const isOld = this.counts !== undefined && Number(this.counts.resourceVersion) >= busy.version &&
        this.counts.observedGeneration === this.generation
      if (!isOld) {
        this.writes++
        this.#next.fill(0)
        this.counts = counts(busy.version, {
          nodes: this.#own.length,
          updated: busy.updated,
          observedGeneration: this.generation,
          at: String(this.now)
        })
      }
      this.#states[i] = counted(this.#states[i] ?? NONE, "t", String(busy.version))
    }
    if (busy === undefined && (this.#next[i] ?? 0) > this.now) return
    const { count, lookIn = 0, state } = look(this.#states[i] ?? NONE, {
      templates: [{ name: "t", generation: this.generation, counts: this.counts }],
      nodeConfig: this.#own[i],
      now: this.now,
      chance: this.#chance(),
      latency: this.#listMillis
    })
    this.#states[i] = state
    this.#next[i] = this.now + lookIn
    if (count === undefined) return
    this.lists.push(this.now)
    this.#busy[i] = { end: this.now + this.#listMillis, version: this.version, updated: this.#updated() }
  }

  pass(millis: number, each: number, meanwhile: () => void = () => undefined) {
    for (const end = this.now + millis; this.now < end;) {
      this.now += each
      meanwhile()
      for (let i = 0; i < this.#own.length; i++) this.#step(i)
    }
  }
}

describe("5,000 nodes", () => {
  const N = 5000
  const start = () => {
    const fleet = new Fleet(N, 1000, counts(1, { nodes: N, updated: N, ready: N }))
    fleet.pass(1000, 500)
    assert.deepStrictEqual(fleet.lists, [])
    return fleet
  }

  it("an edit that all take at once is counted by few", () => {
    const fleet = start()
    fleet.edit()
    for (let i = 0; i < N; i++) fleet.follow(i)
    fleet.pass(60_000, 500)
    assert.deepInclude(fleet.counts, { updated: N, observedGeneration: 2 })
    assert.isAtMost(fleet.lists.length, 10)
  })

  it("an edit over 300 s is counted all along, every few seconds at most", () => {
    const fleet = start()
    fleet.edit()
    const next = { i: 0 }
    const shown: Array<number> = []
    fleet.pass(300_000, 1000, () => {
      for (let k = 0; k < N / 300 && next.i < N; k++) fleet.follow(next.i++)
      shown.push(fleet.counts?.updated ?? 0)
    })
    fleet.pass(45_000, 1000)
    assert.deepInclude(fleet.counts, { updated: N, observedGeneration: 2 })
    assert.isAtMost(fleet.lists.length, 60)
    assert.isAtLeast(new Set(shown).size, 8, "it can be watched")
    assert.isAtMost(fleet.writes, fleet.lists.length)
  })

  it("where nobody has counted, few do", () => {
    const fleet = new Fleet(N, 1000, undefined)
    fleet.pass(60_000, 500)
    assert.deepInclude(fleet.counts, { nodes: N })
    assert.isAtMost(fleet.lists.length, 30)
  })

  it("a server that takes ten seconds for a list is not asked by many more", () => {
    const fleet = new Fleet(N, 10_000, counts(1, { nodes: N, updated: N, ready: N }))
    fleet.edit()
    for (let i = 0; i < N; i++) fleet.follow(i)
    fleet.pass(320_000, 2000)
    assert.deepInclude(fleet.counts, { updated: N, observedGeneration: 2 })
    assert.isAtMost(fleet.lists.length, 20)
    const unknown = new Fleet(N, 10_000, undefined)
    unknown.pass(320_000, 2000)
    assert.deepInclude(unknown.counts, { nodes: N })
    assert.isAtMost(unknown.lists.length, 30)
  })

  it("one node's change is counted once", () => {
    const fleet = start()
    fleet.follow(7)
    fleet.pass(60_000, 500)
    assert.isAtMost(fleet.lists.length, 1)
  })
})
