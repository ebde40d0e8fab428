import { assert, describe, it } from "@effect/vitest"
import { markdown, merged, parseJUnit, type Run } from "../../conformance/report.ts"

const XML = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="7000">
  <testsuite name="e2e">
    <properties><property name="FocusStrings" value="x"></property></properties>
    <testcase name="[SynchronizedBeforeSuite]" classname="x" status="passed" time="0.1"></testcase>
    <testcase name="[It] [sig-network] DNS should &lt;work&gt; [Conformance]" classname="x" status="passed" time="12.6"><system-err>a | b</system-err></testcase>
    <testcase name="[It] [sig-network] Services a | b " classname="x" status="failed" time="3">
      <failure message="" type="failed">&#xA;[FAILED] no &#34;endpoint&#34;&#xA;at line 7</failure>
      <system-err>long</system-err>
    </testcase>
    <testcase name="[It] [sig-network] Services c" classname="x" status="panicked" time="1"><error message="test panicked" type="panicked"></error></testcase>
    <testcase name="[It] [sig-network] Zones" classname="x" status="skipped" time="0.01"><skipped message="skipped - Requires &gt;= 3 zones"></skipped></testcase>
    <testcase name="[It] [sig-apps] not chosen" classname="x" status="skipped" time="0">
      <skipped message="skipped"></skipped>
    </testcase>
    <testcase name="[It] [sig-network] last" classname="x" status="passed" time="1"/>
  </testsuite>
</testsuites>`

const RUN: Run = {
  date: "2026-11-26",
  commit: "abc",
  command: "npm run x",
  versions: "flock 0",
  nodes: 3,
  processes: 4,
  minutes: 7,
  results: parseJUnit(XML)
}

describe("the report of conformance", () => {
  it("has the tests that were chosen, with the first line of why they failed or were skipped", () => {
    assert.deepStrictEqual(RUN.results, [
      { name: "[sig-network] DNS should <work> [Conformance]", outcome: "passed", seconds: 12.6, detail: "" },
      { name: "[sig-network] Services a | b", outcome: "failed", seconds: 3, detail: "no \"endpoint\"" },
      { name: "[sig-network] Services c", outcome: "failed", seconds: 1, detail: "test panicked" },
      { name: "[sig-network] Zones", outcome: "skipped", seconds: 0.01, detail: "Requires >= 3 zones" },
      { name: "[sig-network] last", outcome: "passed", seconds: 1, detail: "" }
    ])
    assert.deepStrictEqual(parseJUnit(""), [])
  })

  it("is tables that say by what they were made, and of what runs in CI", () => {
    const text = markdown(RUN, ["[sig-network] last"])
    assert.include(text, "**2 passed, 2 failed, 1 skipped**")
    assert.include(text, "Run on 2026-11-26 by `npm run x` of commit abc, in 7 minutes, 4 tests at once")
    assert.include(text, "\n| Conformance | 1 | 0 | 0 |\n")
    assert.include(text, "\n| all | 2 | 2 | 1 |\n")
    assert.include(text, "\n| Services a \\| b | failed: no \"endpoint\" | 3 |  |\n")
    assert.include(text, "\n| last | passed | 1 | yes |\n")
    assert.include(text, "\n| Zones | Requires \\>= 3 zones |\n")
    assert.notInclude(text, "once more")
  })

  it("says of a test that it was tried twice", () => {
    const results = RUN.results.slice(-1).map((result) => ({ ...result, first: "timed out" }))
    const text = markdown({ ...RUN, results }, [])
    assert.include(text, "\n| last | passed, tried again alone; at first: timed out | 1 |  |\n")
    assert.include(text, "tried once more, alone, and the table says so: 1.")
  })

  it("takes the result of a later run of some tests, and says of which commit", () => {
    const results = [{ name: "[sig-network] Services c", outcome: "passed", seconds: 9, detail: "" }] as const
    const both = merged(RUN, { ...RUN, commit: "def", date: "2026-12-01", results })
    assert.deepStrictEqual(both.results.map(({ outcome }) => outcome), [
      "passed",
      "failed",
      "passed",
      "skipped",
      "passed"
    ])
    assert.deepStrictEqual([both.commit, both.date], ["abc", "2026-11-26"])
    const text = markdown(both, [])
    assert.include(text, "**3 passed, 1 failed, 1 skipped**")
    assert.include(text, "\n| Services c | passed, by itself, of commit def | 9 |  |\n")
    assert.include(text, "of the commit that the table names: 1.")
  })
})
