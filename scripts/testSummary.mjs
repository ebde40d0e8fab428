/**
 * `testSummary.mjs DIR`: adds up vitest's JSON reports of several runs (DIR/NAME.json, DIR/NAME.exit) and prints
 * `N passed, N failed`. A run that left no report, a file that did not load and an exit code that no failed test
 * explains count as one failed test each. Exit code 1 if anything failed or nothing passed.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** What a run that left no readable report comes to. */
const read = (path) => {
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    return { testResults: [] }
  }
}

const directory = process.argv[2]
let passed = 0
let failed = 0
for (const file of readdirSync(directory).filter((name) => name.endsWith(".exit"))) {
  const name = file.slice(0, -".exit".length)
  const exit = Number(readFileSync(join(directory, file), "utf8"))
  const { testResults } = read(join(directory, `${name}.json`))
  const count = (status) =>
    testResults.flatMap(({ assertionResults }) => assertionResults).filter((test) => test.status === status).length
  const unloaded = testResults.filter(({ status, assertionResults }) =>
    status === "failed" && !assertionResults.some((test) => test.status === "failed")
  )
  for (const { name, message } of unloaded) console.log(`failed as a whole: ${name}: ${message}`)
  const runFailed = count("failed") + unloaded.length
  const runPassed = count("passed")
  passed += runPassed
  failed += runFailed > 0 || (exit === 0 && runPassed > 0) ? runFailed : 1
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
