/** docs/conformance.md is what `npm run conformance -- --write` made of a run, and says what people will read into it. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { markdown, type Run } from "../../conformance/report.ts"
import { IN_CI, whyNotRun } from "../../conformance/selection.ts"

const ROOT = resolve(import.meta.dirname, "../../..")
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8")
const run: Run = JSON.parse(read("test/conformance/result.json"))
const text = read("docs/conformance.md")

describe("docs/conformance.md", () => {
  it("is made of result.json", () => assert.strictEqual(text, markdown(run, IN_CI), "npm run conformance -- --render"))

  it("is of a whole run of a committed tree", () => {
    assert.match(run.commit, /^[0-9a-f]{7,}$/)
    assert.isAbove(run.results.length, 200)
    assert.strictEqual(new Set(run.results.map(({ name }) => name)).size, run.results.length)
  })

  it("has a row for each test, and counts them", () => {
    const rows = text.split("\n## ").slice(1).map((section) =>
      section.split("\n").filter((line) => /^\| [^`]/.test(line))
    )
    const [ran = [], left = []] = rows
    const passed = ran.filter((row) => row.includes(" | passed")).length
    assert.include(text, `**${passed} passed, ${ran.length - passed} failed, ${left.length} skipped**`)
    assert.strictEqual(ran.length + left.length, run.results.length)
    assert.strictEqual(ran.filter((row) => row.endsWith("| yes |")).length, IN_CI.length)
  })

  it("has no failed test, none of conformance that was skipped, and a reason for each that was", () => {
    for (const { detail, name, outcome } of run.results) {
      assert.notStrictEqual(outcome, "failed", name)
      if (outcome !== "skipped") continue
      assert.notInclude(name, "[Conformance]")
      assert.isAbove(detail.length, 10, name)
    }
  })

  it("gives the reasons that are given today", () => {
    const left = run.results.filter(({ name }) => whyNotRun(name) !== undefined)
    assert.deepStrictEqual(
      left.map(({ detail, name, outcome }) => [name, outcome, detail]),
      left.map(({ name }) => [name, "skipped", whyNotRun(name)])
    )
  })

  it("has the tests that CI runs, and they passed", () => {
    const passed = new Set(run.results.filter(({ outcome }) => outcome === "passed").map(({ name }) => name))
    for (const name of IN_CI) assert.isTrue(passed.has(name), name)
  })
})
