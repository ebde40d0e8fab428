import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { decodeTemplate } from "../../../src/domain/NodeConfigTemplate.ts"
import { choose, fits, tieInWords } from "../../../src/fleet/choose.ts"

const selector = (matchLabels: Record<string, string>, ...matchExpressions: ReadonlyArray<unknown>) => {
  const { nodeSelector } = Result.getOrThrow(decodeTemplate({
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfigTemplate",
    metadata: { name: "x" },
    spec: { nodeSelector: { matchLabels, matchExpressions }, template: {} }
  })).spec
  return nodeSelector
}

describe("a LabelSelector", () => {
  it("fits as the API server's does", () => {
    const labels = { rack: "a", zone: "" }
    const cases: ReadonlyArray<readonly [ReturnType<typeof selector>, boolean]> = [
      [selector({}), true],
      [selector({ rack: "a" }), true],
      [selector({ rack: "b" }), false],
      [selector({ rack: "a", row: "1" }), false],
      [selector({ zone: "" }), true],
      [selector({}, { key: "rack", operator: "In", values: ["b", "a"] }), true],
      [selector({}, { key: "row", operator: "In", values: ["1"] }), false],
      [selector({}, { key: "rack", operator: "NotIn", values: ["b"] }), true],
      [selector({}, { key: "rack", operator: "NotIn", values: ["a"] }), false],
      [selector({}, { key: "row", operator: "NotIn", values: ["1"] }), true],
      [selector({}, { key: "zone", operator: "Exists" }), true],
      [selector({}, { key: "row", operator: "Exists" }), false],
      [selector({}, { key: "row", operator: "DoesNotExist" }), true],
      [selector({}, { key: "zone", operator: "DoesNotExist" }), false],
      [selector({ rack: "a" }, { key: "zone", operator: "DoesNotExist" }), false]
    ]
    for (const [it, expected] of cases) assert.strictEqual(fits(it, labels), expected, JSON.stringify(it))
  })
})

describe("the template of a node", () => {
  const template = (name: string, rack: string | undefined, priority = 0) =>
    Result.getOrThrow(decodeTemplate({
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfigTemplate",
      metadata: { name, uid: name, generation: 1 },
      spec: { nodeSelector: rack === undefined ? {} : { matchLabels: { rack } }, priority, template: {} }
    }))

  it("is the one of the highest priority; a tie is none, and names all", () => {
    const all = [template("z", "a"), template("every", undefined, -1), template("b", "b", 5)]
    const of = (rack: string, more: ReadonlyArray<ReturnType<typeof template>> = []) => {
      const choice = choose([...all, ...more], { rack })
      return choice._tag === "One" ? choice.template.name : choice._tag
    }
    assert.strictEqual(of("a"), "z")
    assert.strictEqual(of("b"), "b")
    assert.strictEqual(of("c"), "every")
    assert.strictEqual(of("a", [template("y", "a")]), "Tie")
    assert.strictEqual(of("a", [template("y", "a", 1)]), "y")
    assert.strictEqual(choose([], { rack: "a" })._tag, "None")
    assert.strictEqual(choose([template("b", "b")], {})._tag, "None")
    assert.strictEqual(
      tieInWords([template("x", "a"), template("y", "a"), template("z", "a")]),
      "x, y and z fit this node with the same priority, 0: give one of them a higher one, or selectors that do not overlap"
    )
  })

  it("is refused with the field, the value and what would be right", () => {
    const problem = (spec: unknown, head: object = {}) => {
      const object = { apiVersion: "flock.fritzlab.net/v1alpha1", kind: "NodeConfigTemplate", metadata: { name: "x" } }
      return Result.match(decodeTemplate({ ...object, ...head, spec }), {
        onFailure: ({ message }) => message.replace("NodeConfigTemplate x is not valid: ", ""),
        onSuccess: () => ""
      })
    }
    const good = { nodeSelector: {}, template: {} }
    assert.strictEqual(problem(good), "")
    assert.strictEqual(problem({ ...good, priority: 1.5 }), "spec.priority: 1.5: must be a whole number")
    assert.strictEqual(problem({ ...good, rollout: { seconds: -1 } }), "spec.rollout.seconds: -1: must be 0 to 86400")
    assert.strictEqual(problem({ template: {} }), "spec.nodeSelector: is required")
    assert.strictEqual(
      problem({ ...good, nodeSelector: { matchExpressions: [{ key: "a", operator: "Equals" }] } }),
      `spec.nodeSelector.matchExpressions[0].operator: "Equals": must be one of In, NotIn, Exists, DoesNotExist`
    )
    assert.strictEqual(
      problem({ ...good, nodeSelector: { matchExpressions: [{ key: "a", operator: "In" }] } }),
      "spec.nodeSelector.matchExpressions[0].values: must list one value at least for In"
    )
    assert.strictEqual(
      problem({ ...good, selector: {} }),
      "spec.selector: unknown field: remove it or correct its name"
    )
    assert.strictEqual(problem(good, { kind: "NodeConfig" }), `kind: "NodeConfig": must be NodeConfigTemplate`)
  })
})
