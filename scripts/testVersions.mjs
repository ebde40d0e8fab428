/**
 * `npm run test:bgp:all`: the suites of test/bgp with each BIRD and FRR of lab/versions.txt and with this machine's own, one
 * version after another. Prints the table of docs/tested.md; exit code 1 if one of them failed. Arguments go to vitest, for
 * instance the names of test files.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const ROOT = resolve(import.meta.dirname, "..")
const VERSIONS = ["", ...readFileSync(join(ROOT, "lab/versions.txt"), "utf8").trim().split("\n")]
const reports = mkdtempSync(join(tmpdir(), "flock-versions-"))

const programs = (version) => {
  if (version === "") return undefined
  const { status, stderr, stdout } = spawnSync("sh", [join(ROOT, "scripts/debian.sh"), ...version.split(" ")], {
    encoding: "utf8"
  })
  if (status !== 0) throw new Error(`"${version}" cannot be tested: ${stderr}`)
  return join(stdout.trim(), "bin")
}

/** What the programs themselves say. */
const said = (program, pattern, env) => {
  const { error, stderr, stdout } = spawnSync(program, ["--version"], { encoding: "utf8", env })
  return error === undefined ? pattern.exec(stdout + stderr)?.[1] ?? "?" : "not there"
}

const rows = VERSIONS.map((version) => {
  const folder = programs(version)
  const path = `${process.env.PATH}:/usr/sbin:/sbin:/usr/lib/frr`
  const env = { ...process.env, PATH: folder === undefined ? path : `${folder}:${path}` }
  const names = [said("bird", /BIRD version (\S+)/, env), said("bgpd", /bgpd version (\S+)/, env)]
  const report = join(reports, `${version || "here"}.json`)
  console.log(`BIRD ${names[0]}, FRR ${names[1]}`)
  const args = ["run", "--project", "bgp", "--exclude", "test/bgp/versions.test.ts", ...process.argv.slice(2)]
  const began = Date.now()
  const { status } = spawnSync(join(ROOT, "node_modules/.bin/vitest"), args, {
    cwd: ROOT,
    stdio: "inherit",
    env: { ...process.env, LAB_DEBIAN: version, FLOCK_TEST_REPORT: report }
  })
  let tests = []
  try {
    tests = JSON.parse(readFileSync(report, "utf8")).files.flatMap((file) => file.tests)
  } catch {
    // it ended before there was a report: no test has passed
  }
  const count = (state) => tests.filter((test) => test.state === state).length
  const failed = tests.filter(({ state }) => state === "failed").map(({ name }) => name)
  return { names, status, passed: count("passed"), failed, seconds: Math.round((Date.now() - began) / 1000) }
})
rmSync(reports, { recursive: true })

console.log("| BIRD | FRR | passed | failed | seconds |\n|---|---|---|---|---|")
for (const { failed, names, passed, seconds } of rows) {
  console.log(`| ${[...names, passed, failed.length, seconds].join(" | ")} |`)
}
for (const { failed, names } of rows) for (const name of failed) console.log(`BIRD ${names.join(", FRR ")}: ${name}`)
process.exitCode = rows.every(({ passed, status }) => status === 0 && passed > 0) ? 0 : 1
