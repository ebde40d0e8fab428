/** `.ci/run`'s last line and exit code tell the truth, whatever its runs left behind. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const ROOT = resolve(import.meta.dirname, "../../..")

const result = (...statuses: ReadonlyArray<string>) => ({
  status: statuses.includes("failed") ? "failed" : "passed",
  name: "x.test.ts",
  message: "",
  assertionResults: statuses.map((status) => ({ status }))
})

/** What a run leaves: its exit code, and its report's text if it wrote one. */
type Left = readonly [exit: number, report?: string]
const good: readonly [number, string] = [0, JSON.stringify({ testResults: [result("passed", "passed", "skipped")] })]

/** Of a fresh folder, removed afterwards. */
const within = <A>(use: (folder: string) => A): A => {
  const folder = mkdtempSync(join(tmpdir(), `flock-ci-${process.pid}-`))
  try {
    return use(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const summary = (runs: Readonly<Record<string, Left>>) =>
  within((folder) => {
    for (const [name, [exit, report]] of Object.entries(runs)) {
      writeFileSync(join(folder, `${name}.exit`), `${exit}\n`)
      if (report !== undefined) writeFileSync(join(folder, `${name}.json`), report)
    }
    const { status, stdout } = spawnSync(process.execPath, [join(ROOT, "scripts/testSummary.mjs"), folder], {
      encoding: "utf8"
    })
    return { status, last: stdout.trimEnd().split("\n").at(-1) }
  })

describe("testSummary", () => {
  it.each<readonly [string, Readonly<Record<string, Left>>, number, string]>([
    ["two good runs", { a: good, b: good }, 0, "4 passed, 0 failed"],
    [
      "a failed test",
      { a: good, b: [1, JSON.stringify({ testResults: [result("failed")] })] },
      1,
      "2 passed, 1 failed"
    ],
    [
      "a file that did not load",
      { a: [1, JSON.stringify({ testResults: [{ ...result(), status: "failed" }, result("passed")] })] },
      1,
      "1 passed, 1 failed"
    ],
    ["a run that was killed before its report", { a: good, b: [137] }, 1, "2 passed, 1 failed"],
    ["a report that was cut", { a: [1, "{\"testResults\": ["] }, 1, "0 passed, 1 failed"],
    ["a bad exit that no failed test explains", { a: [1, good[1]] }, 1, "2 passed, 1 failed"],
    ["a good exit without one test", { a: [0, JSON.stringify({ testResults: [] })] }, 1, "0 passed, 1 failed"],
    ["nothing", {}, 1, "0 passed, 0 failed"]
  ])("%s", (_, runs, status, last) => assert.deepStrictEqual(summary(runs), { status, last }))
})

describe(".ci/run", () => {
  /** Runs it over a folder whose `npm` is `script`. */
  const ci = (script: string, kube = false) =>
    within((folder) => {
      const flock = join(folder, "flock")
      for (const path of [".ci/run", "scripts/testSummary.mjs"]) cpSync(join(ROOT, path), join(flock, path))
      mkdirSync(join(folder, "bin"))
      if (kube) mkdirSync(join(folder, "shared/kube"), { recursive: true })
      writeFileSync(join(folder, "bin/npm"), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
      const { status, stdout } = spawnSync("sh", [join(flock, ".ci/run")], {
        encoding: "utf8",
        env: { PATH: `${join(folder, "bin")}:${process.env["PATH"]}` }
      })
      return { status, last: stdout.trimEnd().split("\n").at(-1) }
    })
  const writeGood = `[ "$*" = "run --silent lint" ] || echo '${good[1]}' >"$FLOCK_TEST_REPORT"`

  it("passes", () => assert.deepStrictEqual(ci(writeGood), { status: 0, last: "2 passed, 0 failed" }))
  it("adds the API server's suite where there is one", () =>
    assert.deepStrictEqual(ci(writeGood, true), { status: 0, last: "4 passed, 0 failed" }))
  it("fails by lint alone", () =>
    assert.deepStrictEqual(ci(`${writeGood}\n[ "$*" != "run --silent lint" ]`), {
      status: 1,
      last: "2 passed, 1 failed"
    }))
  it("fails where npm does", () => assert.deepStrictEqual(ci("exit 1"), { status: 1, last: "0 passed, 2 failed" }))

  it("has limits of less than half an hour in all, on commands that there are", () => {
    const text = readFileSync(join(ROOT, ".ci/run"), "utf8")
    const runs = [...text.matchAll(/\brun \w+ (\d+) npm (?:run --silent )?(\S+)/g)]
    assert.isAtLeast(runs.length, 3)
    assert.isBelow(runs.reduce((sum, [, seconds]) => sum + Number(seconds), 0), 1800)
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"))
    for (const [, , name = ""] of runs) {
      if (name !== "test:cluster" || existsSync(join(ROOT, "test/cluster"))) assert.property(scripts, name)
    }
  })
})
