/** What is written for people to read with kubectl carries nothing that steers their terminal. */
import { assert, describe, it } from "@effect/vitest"
import * as NodeCondition from "../../../src/kube/nodeCondition.ts"
import * as NodeConfigStatus from "../../../src/kube/nodeConfigStatus.ts"
import { objectOf } from "../../../src/kube/recorder.ts"

const HOSTILE = "\u001b]52;c;ZXZpbA==\u0007\u009b2J\n\u202eabc"
const SHOWN = "\\u001b]52;c;ZXZpbA==\\u0007\\u009b2J \\u202eabc"

describe("text for kubectl", () => {
  it("of an Event, cut after it was escaped", () => {
    const event = (message: string) => ({ on: { kind: "Node" }, type: "Warning", reason: "R", message }) as const
    const messageOf = (text: string) => objectOf(event(text), "n", "e", { first: 0, last: 0, count: 1 }).message
    assert.strictEqual(messageOf(HOSTILE), SHOWN)
    assert.isAtMost(messageOf(HOSTILE.repeat(100)).length, 1024)
  })

  it("of the Node's condition", () => {
    const condition = { status: "True", reason: "FlockNoRoute", message: HOSTILE } as const
    assert.include(JSON.stringify(NodeCondition.patchOf(condition, "t", false)), JSON.stringify(SHOWN))
  })

  it("of NodeConfig's status: conditions and peers", () => {
    const status = {
      observedGeneration: 1,
      conditions: [{ type: "Ready", status: "False", reason: "R", message: HOSTILE }],
      addresses: {},
      peers: [{ address: "192.0.2.1", asn: 1, state: "Down", problem: HOSTILE }]
    } as const
    const text = JSON.stringify(NodeConfigStatus.patchOf(status, NodeConfigStatus.transitionsOf(undefined), "t"))
    assert.strictEqual(text.split(JSON.stringify(SHOWN)).length - 1, 2)
  })
})
