/** `npm run soak`: see {@link USAGE}. */
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { available } from "../../lab/ApiServer.ts"
import { isolate } from "../../lab/isolate.ts"
import { World } from "../../lab/World.ts"
import { type FaultKind, FAULTS } from "./plan.ts"
import { report } from "./report.ts"
import type { Options } from "./setUp.ts"
import { Failed, Soak } from "./Soak.ts"

const KINDS = Object.keys(FAULTS) as ReadonlyArray<FaultKind>

const USAGE =
  `usage: npm run soak -- [--operations N | --minutes N | --hours N] [--seed N] [--rounds N | --rounds FROM-TO]
  [--per-round N] [--faults-per-round N] [--slots N] [--faults KIND,...] [--without KIND,...] [--no-api] [--json FILE]
  [--settle SECONDS] [--spoil]
Two nodes, BIRD, an FRR router: random operations and faults, and after each round all sources must agree.
Default: 5 minutes. --settle: how long they may take to; --spoil: something is removed, so that it fails.
 KIND: ${KINDS.join(", ")}`

const options = {
  operations: { type: "string" },
  minutes: { type: "string" },
  hours: { type: "string" },
  seed: { type: "string" },
  rounds: { type: "string" },
  "per-round": { type: "string", default: "100" },
  "faults-per-round": { type: "string", default: "6" },
  slots: { type: "string", default: "30" },
  faults: { type: "string" },
  without: { type: "string" },
  "no-api": { type: "boolean", default: false },
  json: { type: "string" },
  settle: { type: "string", default: "60" },
  spoil: { type: "boolean", default: false },
  help: { type: "boolean", default: false }
} as const

const usage = (problem: string): never => {
  console.error(`soak: ${problem}\n${USAGE}`)
  process.exit(2)
}

const parse = () => {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error))
  }
}

const values = parse()

const number = (
  name: "operations" | "minutes" | "hours" | "seed" | "per-round" | "faults-per-round" | "slots" | "settle"
) => {
  const text = values[name]
  if (text === undefined) return undefined
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : usage(`--${name} ${text}: must be a number`)
}

const kindsOf = (text: string): ReadonlyArray<FaultKind> =>
  text.split(",").filter((name) => name !== "").map((name) =>
    KINDS.find((kind) => kind === name) ?? usage(`no fault ${name}`)
  )

const roundsOf = (text: string): readonly [number, number] => {
  const [, from, to] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? usage(`--rounds ${text}: must be N or FROM-TO`)
  return to === undefined ? [Number(from), Number(from)] : [Number(from), Number(to)]
}

/** Debian's, x64 and arm64. It shifts the wall clock of one process by what a file says. */
const faketime = ["x86_64", "aarch64"].map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketime.so.1`).find(
  existsSync
)

const main = async (): Promise<void> => {
  const seed = number("seed") ?? Math.floor(Math.random() * 2 ** 31)
  const perRound = number("per-round") ?? 100
  const operations = number("operations")
  const minutes = number("minutes") ?? (number("hours") ?? 0) * 60
  const [from, to] = values.rounds === undefined
    ? [1, operations === undefined ? Number.POSITIVE_INFINITY : Math.ceil(operations / perRound)]
    : roundsOf(values.rounds)
  const until = Number.isFinite(to) ? Number.POSITIVE_INFINITY : performance.now() + (minutes || 5) * 60_000
  const api = available && !values["no-api"]
  const without = new Set(kindsOf(values.without ?? ""))
  const settings: Options = {
    seed,
    slots: number("slots") ?? 30,
    operations: perRound,
    faults: number("faults-per-round") ?? 6,
    kinds: (values.faults === undefined ? KINDS : kindsOf(values.faults)).filter((kind) =>
      !without.has(kind) && (faketime !== undefined || !kind.startsWith("clock"))
    ),
    faketime,
    api,
    settle: number("settle") ?? 60,
    spoil: values.spoil
  }
  console.log(
    `soak: seed ${seed}; node1 by folder, node2 by ${api ? "API server" : "folder"}; clocks ${
      faketime ? "" : "not "
    }stepped`
  )
  const began = performance.now()
  await using world = new World()
  const soak = await Soak.open(world, settings)
  let round = from
  try {
    for (; round <= to && performance.now() < until; round++) {
      await soak.round(round)
      if (round % 10 === 0) console.log(`round ${round}: ${report(soak.figures, performance.now() - began)[0]}`)
    }
    await soak.drain()
    console.log(`\nall agree, nothing is left. ${report(soak.figures, performance.now() - began).join("\n")}`)
  } catch (error) {
    process.exitCode = 1
    const folder = process.env["SOAK_LOGS"] ?? mkdtempSync(join(tmpdir(), "flock-soak-"))
    mkdirSync(folder, { recursive: true })
    for (const [name, text] of soak.logs()) writeFileSync(join(folder, name), text)
    writeFileSync(join(folder, `round-${round}.txt`), soak.describe(round).join("\n"))
    console.log(
      `round ${round} FAILED:\n${
        error instanceof Failed ? error.message : error instanceof Error ? error.stack : String(error)
      }`
    )
    console.log(
      `\nfaults of this round:\n${soak.describe(round).filter((line) => line.startsWith("fault")).join("\n")}`
    )
    console.log(`operations and logs: ${folder}`)
    console.log(
      `again: npm run soak -- ${
        process.argv.slice(2).filter((_, i, all) =>
          !/^--(seed|rounds|operations|minutes|hours)$/.test(all[i] ?? "") &&
          !/^--(seed|rounds|operations|minutes|hours)$/.test(all[i - 1] ?? "")
        ).join(" ")
      } --seed ${seed} --rounds ${from}-${round}`
    )
    console.log(report(soak.figures, performance.now() - began).join("\n"))
  } finally {
    if (values.json !== undefined) {
      const minutes = (performance.now() - began) / 60_000
      writeFileSync(values.json, `${JSON.stringify({ seed, minutes, ...soak.figures }, undefined, 2)}\n`)
    }
  }
}

if (values.help) console.log(USAGE)
else if (await isolate()) await main()
