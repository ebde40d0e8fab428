import { assert, describe, it } from "@effect/vitest"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import { initial, type Reading, step } from "../../../src/kube/podFiles.ts"

const pod = (name: string, ready = false): PodInfo => ({
  namespace: "default",
  name,
  uid: "",
  ready,
  deleting: false,
  annotations: {}
})

const pods = (...list: ReadonlyArray<PodInfo>): Reading => ({ _tag: "Pods", pods: list })
const gone: Reading = { _tag: "Gone" }
const broken: Reading = { _tag: "Unreadable", message: "broken" }

const play = (...readings: ReadonlyArray<readonly [string, Reading]>) => {
  let state = initial
  return readings.map(([file, reading]) => {
    const next = step(state, file, reading)
    state = next.state
    return [
      ...next.changes.map((c) => `${c._tag} ${c.pod.name}${c.pod.ready ? " ready" : ""}`),
      ...next.problems
    ].join(", ")
  })
}

describe("the pods of a folder", () => {
  it("change with their files, and not by being read again", () => {
    assert.deepStrictEqual(
      play(
        ["a.yaml", pods(pod("a"), pod("b"))],
        ["a.yaml", pods(pod("a"), pod("b"))],
        ["a.yaml", pods(pod("a", true))],
        ["a.yaml", gone],
        ["a.yaml", gone]
      ),
      ["Changed a, Changed b", "", "Removed b, Changed a ready", "Removed a ready", ""]
    )
  })

  it("stay while their file is broken, which is said once, and again after it was mended", () => {
    assert.deepStrictEqual(
      play(["a.yaml", pods(pod("a"))], ["a.yaml", broken], ["a.yaml", broken], ["a.yaml", pods(pod("a"))], [
        "a.yaml",
        broken
      ]),
      ["Changed a", "broken", "", "", "broken"]
    )
  })

  it("that two files name are the last file's, in whatever order they are read; and the other's when it goes", () => {
    const both = [["a.yaml", pods(pod("x"))], ["b.yaml", pods(pod("x", true))]] as const
    assert.deepStrictEqual(play(...both, ["b.yaml", gone], ["a.yaml", gone]), [
      "Changed x",
      "Changed x ready",
      "Changed x",
      "Removed x"
    ])
    assert.deepStrictEqual(play(...both.toReversed()), ["Changed x ready", ""])
  })
})
