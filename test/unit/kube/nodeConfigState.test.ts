/** Which NodeConfig is in force, event by event. */
import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { formatCidr } from "../../../src/domain/Ip.ts"
import { type Event, initial, isValid, type State, step } from "../../../src/kube/nodeConfigState.ts"

const object = (cidr4: string, metadata: object = {}) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: { name: "n1", ...metadata },
  spec: { cidr4 }
})

const arrived = (cidr4: string, metadata?: object): Event => ({
  _tag: "Arrived",
  object: object(cidr4, metadata),
  source: "S"
})
const restored = (cidr4: string): Event => ({ _tag: "Restored", object: object(cidr4), source: "C" })
const gone: Event = { _tag: "Gone", detail: "D" }
const unreadable: Event = { _tag: "Unreadable", place: "/f:1:2", problem: "P" }
const unlisted = (reason = "away"): Event => ({ _tag: "Unlisted", reason })

const onTrial = (generation: number, labels: object = { "flock.fritzlab.net/template": "t" }) => ({
  uid: "u",
  generation,
  labels,
  annotations: { "flock.fritzlab.net/template-probation": "{}" }
})
const fellBack = (cidr4: string, generation: number): Event => ({
  _tag: "FellBack",
  object: object(cidr4, onTrial(generation)),
  why: "W"
})

const A = "10.42.1.0/24"
const B = "10.42.2.0/24"
const BAD = "10.42.1.1/24"

/** In force, then `!` with a reason where something newer is not, `?` where it is not known; then the actions. */
const show = (state: State, actions: ReturnType<typeof step>[1]): string => {
  const { current, rejected, unknown } = state.nodeConfig
  return [
    Option.match(current, { onNone: () => "none", onSome: ({ spec }) => spec.cidr4 ? formatCidr(spec.cidr4) : "" }),
    ...(Option.isSome(rejected) ? [`!${rejected.value._tag}`] : []),
    ...(unknown === undefined ? [] : ["?"]),
    ...actions.map((action) => action._tag === "Log" ? action.level : action._tag)
  ].join(" ")
}

const play = (...events: ReadonlyArray<Event>): ReadonlyArray<string> => {
  let state = initial("n1")
  return events.map((event) => {
    const [next, actions] = step(state, event)
    state = next
    return show(state, actions)
  })
}

const INVALID = "!NodeConfigInvalid Error RecordRejected"
const UNREADABLE = "!NodeConfigUnreadable Error RecordRejected"

describe("the NodeConfig in force", () => {
  const table: ReadonlyArray<readonly [string, ReadonlyArray<Event>, ReadonlyArray<string>]> = [
    ["is the newest valid one", [arrived(A), arrived(B)], [`${A} Info Save`, `${B} Info Save`]],
    ["does not change by a repeat", [arrived(A), arrived(A)], [`${A} Info Save`, A]],
    ["does not change by another's label or our own status", [
      arrived(A),
      arrived(A, { labels: { a: "b" }, managedFields: [{}] }),
      { _tag: "Arrived", object: { ...object(A), status: { conditions: [] } }, source: "S" }
    ], [`${A} Info Save`, A, A]],
    ["is taken anew with another generation", [arrived(A), arrived(A, { generation: 2 })], [
      `${A} Info Save`,
      `${A} Info Save`
    ]],
    ["stays when a newer one is not valid, which is said once", [arrived(A), arrived(BAD), arrived(BAD), arrived(A)], [
      `${A} Info Save`,
      `${A} ${INVALID}`,
      `${A} !NodeConfigInvalid`,
      `${A} Info Save`
    ]],
    ["stays when there is something that is none, which is said once", [
      arrived(A),
      unreadable,
      unreadable,
      arrived(BAD),
      unreadable,
      arrived(A)
    ], [
      `${A} Info Save`,
      `${A} ${UNREADABLE}`,
      `${A} !NodeConfigUnreadable`,
      `${A} ${INVALID}`,
      `${A} ${UNREADABLE}`,
      `${A} Info Save`
    ]],
    ["is the former one after a failed trial, however often the source says the one that failed", [
      arrived(A, onTrial(1)),
      arrived(B, onTrial(2)),
      fellBack(A, 2),
      arrived(B, onTrial(2)),
      unlisted(),
      arrived(B, onTrial(2)),
      arrived(A, onTrial(3)),
      arrived(B, onTrial(4))
    ], [`${A} Info Save`, `${B} Info Save`, `${A} Warn Save`, A, `${A} Warn`, A, `${A} Info Save`, `${B} Info Save`]],
    ["is again the one whose trial failed when somebody takes its label away", [
      arrived(B, onTrial(2)),
      fellBack(A, 2),
      arrived(B, onTrial(2, {}))
    ], [`${B} Info Save`, `${A} Warn Save`, `${B} Info Save`]],
    ["is none that is not valid, whatever it was before a trial", [arrived(A, onTrial(2)), fellBack(BAD, 2)], [
      `${A} Info Save`,
      A
    ]],
    ["goes with its deletion, whatever stood in its way", [arrived(A), gone, gone, arrived(BAD), gone, arrived(A)], [
      `${A} Info Save`,
      "none Warn Forget",
      "none",
      `none ${INVALID}`,
      "none Warn Forget",
      `${A} Info Save`
    ]],
    ["is not there at first, which is said once", [gone, gone, unreadable, gone], [
      "none Warn Forget",
      "none",
      `none ${UNREADABLE}`,
      "none Warn Forget"
    ]],
    ["is unknown until the source has spoken, and stays as it was while it is silent later", [
      unlisted(),
      unlisted(),
      unlisted("refused"),
      gone,
      unlisted(),
      arrived(A),
      unlisted(),
      unlisted(),
      arrived(A),
      unlisted()
    ], [
      "none ? Warn",
      "none ?",
      "none ? Warn",
      "none Warn Forget",
      "none Warn",
      `${A} Info Save`,
      `${A} Warn`,
      A,
      A,
      `${A} Warn`
    ]],
    ["is the copy of the last one until the source has spoken", [restored(A), unlisted(), arrived(A), gone], [
      `${A} Info`,
      `${A} ? Warn`,
      A,
      "none Warn Forget"
    ]],
    ["is the copy while what the source has is wrong", [restored(A), arrived(BAD), gone], [
      `${A} Info`,
      `${A} ${INVALID}`,
      "none Warn Forget"
    ]]
  ]
  it.each(table)("%s", (_, events, expected) => assert.deepStrictEqual(play(...events), expected))

  it("gives back the very state for a repeat, so that nobody is told of nothing", () => {
    for (const event of [arrived(A), arrived(BAD), gone, unreadable, unlisted()]) {
      const [once] = step(initial("n1"), event)
      assert.strictEqual(step(once, event)[0].nodeConfig, once.nodeConfig, event._tag)
    }
    const [known] = step(initial("n1"), arrived(A))
    const [silent] = step(known, unlisted())
    assert.strictEqual(silent.nodeConfig, known.nodeConfig)
    assert.strictEqual(step(silent, arrived(A))[0].nodeConfig, known.nodeConfig)
  })

  it("has the object's own name where the node was given none", () => {
    const [state] = step(initial(""), arrived(A))
    assert.strictEqual(Option.getOrThrow(state.nodeConfig.current).name, "n1")
    assert.isFalse(isValid("n2", arrived(A)))
    assert.isTrue(isValid("", arrived(A)))
  })
})
