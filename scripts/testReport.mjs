/**
 * vitest's reporter for .ci/run: writes to the file that FLOCK_TEST_REPORT names what testSummary.mjs adds up. vitest's
 * own JSON report has no errors that belong to no test, so it cannot say why a file did not finish.
 *
 * `files`: path, state (`pending`: its process ended in the middle), errors outside of its tests, and tests. `errors`: the
 * run's, among them how a process ended. `flaky`: passed at its second try; `errors` are of the first. An error is its stack, those that caused it below it.
 */
import { writeFileSync } from "node:fs"
import { relative } from "node:path"

const textOf = (error, depth = 0) => {
  const { cause, message, name, stack, VITEST_TEST_NAME: test, VITEST_TEST_PATH: file } = error
  const where = file === undefined ? "" : `\n    while ${file}${test === undefined ? "" : ` > ${test}`} ran`
  const text = `${stack || `${name ?? "Error"}: ${message ?? String(error)}`}${where}`
  return cause instanceof Object && depth < 5 ? `${text}\ncaused by: ${textOf(cause, depth + 1)}` : text
}
const textsOf = (errors) => errors.map((error) => textOf(error))

export default class {
  onTestRunEnd(modules, unhandled) {
    const files = modules.map((module) => ({
      path: relative(process.cwd(), module.moduleId),
      state: module.state(),
      errors: textsOf([...module.errors(), ...[...module.children.allSuites()].flatMap((suite) => suite.errors())]),
      tests: [...module.children.allTests()].map((test) => {
        const { errors = [], state } = test.result()
        return { name: test.fullName, state, flaky: test.diagnostic()?.flaky === true, errors: textsOf(errors) }
      })
    }))
    writeFileSync(process.env.FLOCK_TEST_REPORT, JSON.stringify({ files, errors: textsOf(unhandled) }))
  }
}
