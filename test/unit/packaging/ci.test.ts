/** `.ci/run`'s last line and exit code tell the truth, whatever its runs left behind. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const ROOT = resolve(import.meta.dirname, "../../..")

const result = (...states: ReadonlyArray<string>) => ({
  state: states.includes("failed") ? "failed" : states.includes("pending") ? "pending" : "passed",
  path: "x.test.ts",
  errors: [],
  tests: states.map((state, i) => ({
    name: `test ${i}`,
    state,
    errors: state === "failed" ? ["Error: 1 is not 2"] : []
  }))
})
const report = (...files: ReadonlyArray<unknown>) => JSON.stringify({ files, errors: [] })

/** What a run leaves: its exit code, and its report's text if it wrote one. */
type Left = readonly [exit: number, report?: string]
const good: readonly [number, string] = [0, report(result("passed", "passed", "skipped"))]

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
    const lines = stdout.trimEnd().split("\n")
    return { status, lines, last: lines.at(-1) }
  })

describe("testSummary", () => {
  it("lists what passed at its second try only, with the first one's error, and counts it as passed", () => {
    const [passed, ...others] = result("passed", "passed").tests
    const flaky = { ...passed, name: "sometimes", flaky: true, errors: ["Error: not within 10 s"] }
    const { last, lines, status } = summary({ a: [0, report({ ...result(), tests: [flaky, ...others] })] })
    assert.deepStrictEqual([status, last], [0, "2 passed, 0 failed"])
    assert.match(lines[0] ?? "", /^passed at its second try: .* > sometimes$/)
    assert.include(lines[1], "not within 10 s")
  })

  it.each<readonly [string, Readonly<Record<string, Left>>, number, string]>([
    ["two good runs", { a: good, b: good }, 0, "4 passed, 0 failed"],
    [
      "a failed test",
      { a: good, b: [1, report(result("failed"))] },
      1,
      "2 passed, 1 failed"
    ],
    [
      "a file that did not load",
      { a: [1, report({ ...result(), state: "failed" }, result("passed"))] },
      1,
      "1 passed, 1 failed"
    ],
    [
      "a file that did not finish",
      { a: [1, report(result("passed", "pending", "pending"), result("passed"))] },
      1,
      "2 passed, 1 failed"
    ],
    [
      "a file whose process ended before a test of it was known",
      { a: [1, report({ ...result(), state: "queued" }, result("passed"))] },
      1,
      "1 passed, 1 failed"
    ],
    ["a run that was killed before its report", { a: good, b: [137] }, 1, "2 passed, 1 failed"],
    ["a report that was cut", { a: [1, "{\"files\": ["] }, 1, "0 passed, 1 failed"],
    ["a bad exit that no failed test explains", { a: [1, good[1]] }, 1, "2 passed, 1 failed"],
    ["a good exit without one test", { a: [0, report()] }, 1, "0 passed, 1 failed"],
    ["nothing", {}, 1, "0 passed, 0 failed"]
  ])("%s", (_, runs, status, last) => {
    const found = summary(runs)
    assert.deepStrictEqual({ status: found.status, last: found.last }, { status, last })
  })

  it("says what failed and why, at the end of what a run of vitest printed", () =>
    within((folder) => {
      const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
      symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"))
      write("good.test.ts", `import { it } from "vitest"\nit("passes", () => {})\n`)
      write("unloaded.test.ts", `import "./nowhere.ts"\n`)
      write(
        "failing.test.ts",
        `import { assert, beforeAll, describe, it } from "vitest"
        it("fails", () => assert.strictEqual(1, 2))
        describe("hooked", () => {
          beforeAll(() => { throw new Error("no hook") })
          it("is skipped", () => {})
        })`
      )
      write(
        "crashing.test.ts",
        `import { it } from "vitest"
        it("first", () => {})
        it("kills", async () => {
          await new Promise((done) => setTimeout(done, 500))
          process.kill(process.pid, "SIGKILL")
          await new Promise(() => {})
        })
        it("last", () => {})`
      )
      const config = ["--pool", "forks", "--root", folder, "--reporter", join(ROOT, "scripts/testReport.mjs")]
      const { status } = spawnSync(process.execPath, [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", ...config], {
        cwd: folder,
        env: { ...process.env, FLOCK_TEST_REPORT: join(folder, "test.json") }
      })
      write("test.exit", `${status}`)
      const { stdout } = spawnSync(process.execPath, [join(ROOT, "scripts/testSummary.mjs"), folder], {
        encoding: "utf8"
      })
      for (
        const pattern of [
          /^failed: failing\.test\.ts > fails\n  AssertionError: expected 1 to equal 2$/m,
          /^failed outside of its tests: failing\.test\.ts\n  Error: no hook$/m,
          /^failed as a whole: unloaded\.test\.ts\n  Error: Cannot find module '\.\/nowhere\.ts'/m,
          /^did not finish: crashing\.test\.ts: 1 of 3 tests passed\n  running or still to come: kills; last$/m,
          /^  caused by: .*Worker exited unexpectedly with signal SIGKILL .*crashing\.test\.ts$/m,
          /\n2 passed, 3 failed\n$/
        ]
      ) assert.match(stdout, pattern)
      assert.notInclude(stdout, "node_modules")
    }))
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
  it("adds the API server's suite and the cluster's where they can run", () =>
    assert.deepStrictEqual(ci(writeGood, true), { status: 0, last: "6 passed, 0 failed" }))
  it("fails by lint alone", () =>
    assert.deepStrictEqual(ci(`${writeGood}\n[ "$*" != "run --silent lint" ]`), {
      status: 1,
      last: "2 passed, 1 failed"
    }))
  it("fails where npm does", () => assert.deepStrictEqual(ci("exit 1"), { status: 1, last: "0 passed, 2 failed" }))

  it("ends a run that hangs: its limits are three quarters of an hour in all, on commands that there are", () => {
    const text = readFileSync(join(ROOT, ".ci/run"), "utf8")
    const runs = [...text.matchAll(/\brun \w+ (\d+) npm (?:run --silent )?(\S+)/g)]
    assert.isAtLeast(runs.length, 3)
    assert.isBelow(runs.reduce((sum, [, seconds]) => sum + Number(seconds), 0), 2700)
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"))
    for (const [, , name = ""] of runs) {
      assert.property(scripts, name)
    }
  })
})
