/**
 * `npm run bench [-- --only NAME] [--rounds N] [--json FILE]`: measures, prints a table per bench with targets, and
 * exits non-zero only if something could not be measured. On a machine that others use no target is judged. One file per bench: to add one, list it here.
 */
import { writeFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { isolate } from "../../lab/isolate.ts"
import { anycast } from "./anycast.ts"
import { bgp } from "./bgp.ts"
import { cni } from "./cni.ts"
import { cpu } from "./cpu.ts"
import { leaves } from "./leaves.ts"
import { busyWords, othersShare } from "./load.ts"
import { type Bench, passes, table } from "./report.ts"
import { requests } from "./requests.ts"
import { spoofing } from "./spoofing.ts"
import { withdraw } from "./withdraw.ts"

const benches: ReadonlyArray<Bench> = [cni, cpu, requests, spoofing, anycast, bgp, leaves, withdraw]

const USAGE = `usage: npm run bench -- [--only NAME] [--rounds N] [--json FILE]
NAME: ${benches.map(({ name }) => name).join(", ")}`

const options = {
  only: { type: "string" },
  rounds: { type: "string", default: "5" },
  json: { type: "string" },
  help: { type: "boolean", default: false }
} as const

const parse = () => {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
    process.exit(2)
  }
}
const values = parse()
const chosen = benches.filter(({ name }) => values.only === undefined || name === values.only)
const rounds = Number(values.rounds)

if (values.help) {
  console.log(USAGE)
} else if (chosen.length === 0 || !(Number.isInteger(rounds) && rounds > 0)) {
  console.error(`bench: --only must be a bench, --rounds 1 or more\n${USAGE}`)
  process.exitCode = 2
} else if (await isolate()) {
  const results: Array<object> = []
  const needed = (bench: Bench) => bench.seconds.once + rounds * bench.seconds.round
  const sum = chosen.reduce((seconds, bench) => seconds + needed(bench), 0)
  console.error(
    `bench: at most some ${Math.ceil(sum / 60)} min (${
      chosen.map((bench) => `${bench.name} ${needed(bench)} s`).join(", ")
    }); leave the machine alone meanwhile`
  )
  for (const bench of chosen) {
    try {
      const before = await othersShare()
      const rows = await bench.run({ rounds, log: (line) => console.error(`bench ${bench.name}: ${line}`) })
      const busy = busyWords(before, await othersShare())
      console.log(`\n${table(bench.title, rows, busy)}`)
      const judged = rows.map((row) => ({ ...row, pass: busy === undefined ? passes(row) : undefined }))
      results.push({ name: bench.name, busy: busy !== undefined, rows: judged })
    } catch (error) {
      console.error(`bench ${bench.name}: ${error instanceof Error ? error.message : String(error)}`)
      process.exitCode = 1
    }
  }
  if (values.json !== undefined) {
    const machine = { cpus: availableParallelism(), node: process.version, at: new Date().toISOString() }
    writeFileSync(values.json, `${JSON.stringify({ machine, rounds, benches: results }, undefined, 2)}\n`)
  }
}
