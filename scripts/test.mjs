/**
 * `npm test`: two runs of vitest side by side, for most of what these suites do is wait: for timers of BGP, for ticks, for
 * the kernel. Each makes network namespaces of its own. What the second prints comes when it has ended, so that both can
 * be read. `npm test -- ARGS`: one run, with those arguments, over all of it.
 */
import { spawn } from "node:child_process"
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** About as long as each other; within a project files run one after another, but for unit and cni. */
const HALVES = [["unit", "cni", "kernel", "agent"], ["bgp", "runtime", "soak"]]

const folder = mkdtempSync(join(tmpdir(), "flock-test-"))
const children = []

/** The exit code. Without `log` its output is this process's. */
const vitest = (projects, { args = [], log, report }) =>
  new Promise((done) => {
    const child = spawn("vitest", ["run", ...projects.flatMap((name) => ["--project", name]), ...args], {
      stdio: ["ignore", log === undefined ? "inherit" : "pipe", log === undefined ? "inherit" : "pipe"],
      env: { ...process.env, ...(report === undefined ? {} : { FLOCK_TEST_REPORT: report }) }
    })
    children.push(child)
    if (log !== undefined) {
      const file = createWriteStream(log)
      child.stdout.pipe(file, { end: false })
      child.stderr.pipe(file, { end: false })
    }
    child.on("error", (error) => {
      console.error(`npm test: vitest: ${error.message}`)
      done(1)
    })
    child.on("close", (code, signal) => done(signal === null ? code : 1))
  })

/** Both halves' reports as one; a half that left none is an error of the run. */
const merge = (reports, codes) => {
  const all = reports.map((path, i) =>
    existsSync(path)
      ? JSON.parse(readFileSync(path, "utf8"))
      : {
        files: [],
        errors: [`vitest of ${HALVES[i].join(", ")} left no report, and ended with exit code ${codes[i]}`]
      }
  )
  return { files: all.flatMap(({ files }) => files), errors: all.flatMap(({ errors }) => errors) }
}

const halves = async () => {
  const wanted = process.env.FLOCK_TEST_REPORT
  const reports = HALVES.map((_, i) => join(folder, `${i}.json`))
  const log = join(folder, "log")
  const codes = await Promise.all(HALVES.map((projects, i) =>
    vitest(projects, {
      ...(i === 0 ? {} : { log }),
      ...(wanted === undefined ? {} : { report: reports[i] })
    })
  ))
  process.stdout.write(readFileSync(log, "utf8"))
  if (wanted !== undefined) writeFileSync(wanted, JSON.stringify(merge(reports, codes)))
  return codes.find((code) => code !== 0) ?? 0
}

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => children.forEach((child) => child.kill(signal)))
const args = process.argv.slice(2)
process.exitCode = args.length === 0 ? await halves() : await vitest(HALVES.flat(), { args })
rmSync(folder, { recursive: true, force: true })
