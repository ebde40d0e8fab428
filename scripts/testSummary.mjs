/**
 * `testSummary.mjs DIR`: adds up testReport.mjs's reports of several runs (DIR/NAME.json, DIR/NAME.exit). Prints what
 * failed and why, and what passed at its second try only, last `N passed, N failed`. A run that left no report, a file that did not load or did not finish and an
 * exit code that no failed test explains count as one failed test each. Exit code 1 if anything failed or nothing passed.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** What a run that left no readable report comes to. */
const read = (path) => {
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    return { files: [], errors: [] }
  }
}

/** CI keeps the end of what was printed: the first failures, and of each the lines that are of this repository. */
const FAILURES = 20
const LINES = 14
const shorten = (error) =>
  error.split("\n").filter((line) => !/^\s*at .*(node_modules|node:internal|<anonymous>|node:events)/.test(line))
    .slice(0, LINES).map((line) => `  ${line.slice(0, 300)}`)

const print = (title, errors) => console.log([title, ...errors.flatMap(shorten)].join("\n"))

const isFailed = ({ state }) => state === "failed"
/** Failed without a failed test, or ended in the middle. */
const isBroken = ({ state, tests }) =>
  state === "pending" || state === "queued" || (isFailed({ state }) && !tests.some(isFailed))

const explain = ({ path, state, errors, tests }) => {
  if (isFailed({ state })) {
    return print(`failed ${tests.some(isFailed) ? "outside of its tests" : "as a whole"}: ${path}`, errors)
  }
  const left = tests.filter((test) => test.state === "pending").map(({ name }) => name)
  const passed = tests.filter((test) => test.state === "passed").length
  print(`did not finish: ${path}: ${passed} of ${tests.length} tests passed`, [
    ...errors,
    ...(left.length === 0 ? [] : [`running or still to come: ${left.slice(0, 3).join("; ")}`])
  ])
}

const directory = process.argv[2]
let passed = 0
let failed = 0
for (const exitFile of readdirSync(directory).filter((name) => name.endsWith(".exit"))) {
  const name = exitFile.slice(0, -".exit".length)
  const exit = Number(readFileSync(join(directory, exitFile), "utf8"))
  const { errors, files } = read(join(directory, `${name}.json`))
  const tests = files.flatMap(({ path, tests }) => tests.map((test) => ({ ...test, path })))
  const failures = tests.filter(isFailed)
  const broken = files.filter(isBroken)
  const flaky = tests.filter((test) => test.flaky)
  for (const test of flaky.slice(0, FAILURES)) {
    print(`passed at its second try: ${test.path} > ${test.name}`, test.errors)
  }
  for (const test of failures.slice(0, FAILURES)) print(`failed: ${test.path} > ${test.name}`, test.errors)
  for (const file of files.filter((file) => isBroken(file) || file.errors.length > 0).slice(0, FAILURES)) explain(file)
  for (const error of errors.slice(0, FAILURES)) print("error outside of the tests:", [error])
  const runFailed = failures.length + broken.length
  const runPassed = tests.filter(({ state }) => state === "passed").length
  if (runFailed === 0 && (exit !== 0 || runPassed === 0)) {
    console.log(`${name} ended with exit code ${exit}, ${runPassed} tests passed`)
  }
  passed += runPassed
  failed += runFailed > 0 || (exit === 0 && runPassed > 0) ? runFailed : 1
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
