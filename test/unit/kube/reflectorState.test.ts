import { assert, describe, it } from "@effect/vitest"
import { ApiError } from "../../../src/kube/access.ts"
import { backOff, initial, type Input, type State, step, waitOf } from "../../../src/kube/reflectorState.ts"

const error = (status: number, retryAfterSeconds?: number) =>
  new ApiError({ message: "", status, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) })
const listed = (version: string): Input => ({ _tag: "Listed", version })
const listFailed = (status: number): Input => ({ _tag: "ListFailed", error: error(status) })
const watchFailed = (status: number, seconds?: number): Input => ({
  _tag: "WatchFailed",
  error: error(status, seconds)
})
const event = (type: string, resourceVersion: string): Input => ({
  _tag: "Event",
  event: { type, object: { metadata: { resourceVersion } } }
})
const ERROR = (code: number): Input => ({ _tag: "Event", event: { type: "ERROR", object: { code } } })
const ended = (lastedMillis: number): Input => ({ _tag: "WatchEnded", lastedMillis })

const show = ({ away, failures, minimumVersion, pause, watchFrom }: State) =>
  `${watchFrom === undefined ? `list ${minimumVersion || "etcd"}` : `watch ${watchFrom}`}${
    pause === undefined ? "" : ` after failure ${failures}`
  }${away ? ", when it is back" : ""}`

describe("a reflector's state", () => {
  it.each<readonly [string, ReadonlyArray<Input>, string]>([
    ["begins with a list from the cache", [], "list 0"],
    ["watches from the list's version", [listed("10")], "watch 10"],
    ["resumes from the last event", [listed("10"), event("MODIFIED", "12"), ended(60_000)], "watch 12"],
    ["resumes from a bookmark", [listed("10"), event("BOOKMARK", "40"), ended(60_000)], "watch 40"],
    ["does not take an event without a version for one", [listed("10"), event("MODIFIED", "")], "watch 10"],
    ["waits when a watch ends at once", [listed("10"), ended(3)], "watch 10 after failure 1"],
    ["resumes when the server is away", [listed("10"), watchFailed(0)], "watch 10 after failure 1, when it is back"],
    [
      "resumes when only its proxy answers",
      [listed("10"), watchFailed(429), watchFailed(503)],
      "watch 10 after failure 2, when it is back"
    ],
    [
      "waits for nobody when it is busy",
      [listed("10"), watchFailed(503), watchFailed(429)],
      "watch 10 after failure 2"
    ],
    [
      "lists when a watch is refused, no older than it was",
      [listed("10"), watchFailed(403)],
      "list 10 after failure 1"
    ],
    [
      "lists no older than it was, from the cache, when the version is forgotten",
      [listed("10"), watchFailed(410)],
      "list 10 after failure 1"
    ],
    ["so too when an event says it", [listed("10"), event("ADDED", "11"), ERROR(410)], "list 11 after failure 1"],
    [
      "lists from etcd when that is expired for a list",
      [listed("10"), watchFailed(410), listFailed(410)],
      "list etcd after failure 2"
    ],
    [
      "lists no older than the last event after another error event",
      [listed("10"), event("ADDED", "11"), ERROR(500)],
      "list 11 after failure 1"
    ],
    [
      "stays in etcd while that fails",
      [listed("10"), watchFailed(403), listFailed(410), listFailed(500)],
      "list etcd after failure 3"
    ],
    [
      "lists from etcd when its version is in the future",
      [listed("10"), watchFailed(403), listFailed(504)],
      "list etcd after failure 2"
    ],
    [
      "keeps to the cache while it is away from the start",
      [listFailed(0), listFailed(0)],
      "list 0 after failure 2, when it is back"
    ]
  ])("%s", (_, inputs, expected) => {
    assert.strictEqual(show(inputs.reduce(step, initial)), expected)
  })

  it("counts anew after an event, and not after a list alone", () => {
    const worn = [listFailed(0), listFailed(0), listed("10")].reduce(step, initial)
    assert.strictEqual(worn.failures, 2)
    assert.strictEqual(step(worn, event("ADDED", "11")).failures, 0)
  })

  it("waits as long as the server says, and never less than its own back-off", () => {
    assert.strictEqual(waitOf(initial, 1, backOff), 0)
    assert.strictEqual(waitOf([listed("1"), watchFailed(429, 50)].reduce(step, initial), 1, backOff), 50_000)
    assert.strictEqual(waitOf([listFailed(0), listFailed(0)].reduce(step, initial), 1, backOff), 400)
  })
})
