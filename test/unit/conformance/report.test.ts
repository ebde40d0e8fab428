import { assert, describe, it } from "@effect/vitest"
import { markdown, parseJUnit } from "../../conformance/report.ts"

const XML = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="7000">
  <testsuite name="e2e">
    <testcase name="[SynchronizedBeforeSuite]" classname="x" status="passed" time="0.1"></testcase>
    <testcase name="[It] [sig-network] DNS should &lt;work&gt; [Conformance]" classname="x" status="passed" time="12.6"><system-err>a | b</system-err></testcase>
    <testcase name="[It] [sig-network] Services a | b" classname="x" status="failed" time="3">
      <failure message="no &#34;endpoint&#34;&#xA;at line 7" type="failed">long</failure>
    </testcase>
    <testcase name="[It] [sig-apps] not chosen" classname="x" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
  </testsuite>
</testsuites>`

describe("the report of conformance", () => {
  it("has the tests that ran, with the first line of what failed", () => {
    assert.deepStrictEqual(parseJUnit(XML), [
      { name: "[sig-network] DNS should <work> [Conformance]", outcome: "passed", seconds: 12.6, detail: "" },
      { name: "[sig-network] Services a | b", outcome: "failed", seconds: 3, detail: "no \"endpoint\"" }
    ])
    assert.deepStrictEqual(parseJUnit(""), [])
  })

  it("is a table that says by what it was made", () => {
    const text = markdown(parseJUnit(XML), { date: "2026-11-26", command: "npm run x", versions: "flock 0" })
    assert.include(text, "**1 of 2 passed.**")
    assert.include(text, "run on 2026-11-26 by `npm run x`: flock 0.")
    assert.include(text, "| [sig-network] Services a \\| b | failed: no \"endpoint\" | 3 |")
  })
})
