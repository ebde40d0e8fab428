/** What a stranger has named reaches no terminal as it is, in no command. */
import { assert, describe, it } from "@effect/vitest"
import { renderFindings } from "../../../src/cli/doctor.ts"
import { renderStatus } from "../../../src/cli/status.ts"
import { table } from "../../../src/cli/table.ts"
import { toJson } from "../../../src/cli/toJson.ts"
import { ascii, oneLine } from "../../../src/domain/quote.ts"
import type { StatusReport } from "../../../src/socket/StatusReport.ts"
import { render } from "../../../src/why/render.ts"

/** Clears the screen, colours, rings, goes back, turns text round, ends the line; in C0, C1 and Unicode's ways. */
const HOSTILE = "a\u001b[2J\u009b31m\u0007\b\r\n\u202eb\u2028\u2066\u200b\u{e0001}\ud800日本"

// oxlint-disable-next-line no-control-regex -- that is what must not be there
const STEERS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0001}]/u

const report: StatusReport = {
  version: HOSTILE,
  node: HOSTILE,
  startedAt: "2026-01-01T00:00:00.000Z",
  nodeConfig: { present: false, generation: 0, unknown: HOSTILE, rejected: HOSTILE },
  usage: {},
  allocations: [HOSTILE, "web"].map((name) => ({
    namespace: name,
    pod: name,
    uid: name,
    containerId: name,
    ifName: name,
    hostIfName: name,
    chosen: [],
    anycast: [],
    mtu: 1500,
    createdAt: ""
  })),
  announcements: [{
    address: "192.0.2.1",
    state: "pending",
    installed: true,
    exportedTo: [HOSTILE],
    holders: [{ owner: HOSTILE, namespace: HOSTILE, pod: HOSTILE, hostIfName: HOSTILE, kind: "anycast", gate: "NoPod" }]
  }],
  antiSpoofing: { state: "failed", problem: HOSTILE, exempt: [HOSTILE] },
  drops: [{ namespace: HOSTILE, pod: HOSTILE, hostIfName: HOSTILE, reason: "spoofed", packets: 1 }],
  bird: {
    enabled: true,
    up: true,
    version: HOSTILE,
    peers: [],
    stale: true,
    configError: HOSTILE,
    reloads: 0
  }
}

describe("a name that steers a terminal", () => {
  it("leaves status a table of the same lines", () => {
    const text = renderStatus(report)
    assert.notMatch(text, STEERS)
    const tame: StatusReport = JSON.parse(JSON.stringify(report).replaceAll(JSON.stringify(HOSTILE).slice(1, -1), "x"))
    assert.strictEqual(text.split("\n").length, renderStatus(tame).split("\n").length)
  })

  it("leaves why and doctor theirs", () => {
    const why = render({
      address: "192.0.2.1",
      node: HOSTILE,
      kind: "none",
      announced: false,
      answer: HOSTILE,
      steps: [{ step: "ready", ok: false, detail: HOSTILE }]
    })
    assert.notMatch(why, STEERS)
    assert.strictEqual(why.split("\n").length, 3)
    const findings = renderFindings([{ severity: "error", check: "second-speaker", problem: HOSTILE, remedy: HOSTILE }])
    assert.notMatch(findings, STEERS)
    assert.strictEqual(findings.split("\n").length, 2)
  })

  it("is the same value in JSON", () => {
    const text = toJson(report)
    assert.notMatch(text, STEERS)
    assert.deepStrictEqual(JSON.parse(text), report)
  })
})

describe("table", () => {
  it("is aligned whatever a cell has in it, and ends no line with spaces", () => {
    const lines = table([["POD", "ADDRESS"], [HOSTILE, "192.0.2.1"], ["日本", ""], ["web"]])
    assert.strictEqual(lines.length, 4)
    for (const line of lines) assert.match(line, /^[\x20-\x7e]*[^ ]$/)
    assert.strictEqual(lines[0]?.indexOf("ADDRESS"), lines[1]?.indexOf("192.0.2.1"))
    assert.deepStrictEqual(table([]), [])
  })
})

describe("oneLine", () => {
  it.each([
    ["plain – text → 日本", "plain – text → 日本"],
    ["two\n  lines\r\nthree", "two lines three"],
    ["\u001b]0;title\u0007", "\\u001b]0;title\\u0007"],
    ["\u{e0001}", "\\u{e0001}"],
    ["", ""]
  ])("%j is shown as %j", (text, shown) => assert.strictEqual(oneLine(text), shown))

  it("in ASCII escapes what is none", () => assert.strictEqual(ascii("日→\u{1f600}"), "\\u65e5\\u2192\\u{1f600}"))
})
