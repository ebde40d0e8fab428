/**
 * Which BIRD and which FRR a lab runs: this machine's, or those of other Debian releases, as `scripts/debian.sh` fetches
 * them. Chosen by environment, so that every suite can run with every version: `LAB_DEBIAN="trixie bird2 frr"`, or
 * `LAB_DEBIAN="sid bird3, trixie frr"`.
 */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"

const DEBIAN = resolve(import.meta.dirname, "../scripts/debian.sh")

/**
 * What flock is held against besides this machine's own: the stable release after Debian 12, and the newest there is.
 * BIRD 2 and 3 exclude each other, so each has a system of its own. `scripts/setup.sh test` fetches them.
 */
export const VERSIONS: ReadonlyArray<string> = readFileSync(new URL("versions.txt", import.meta.url), "utf8").trim()
  .split("\n")

/** Folder of the programs of `SUITE PACKAGE...`. Fetches them at first, which takes a minute; fails if it cannot. */
export const programsOf = (packages: string): string => {
  const { status, stderr, stdout } = spawnSync("sh", [DEBIAN, ...packages.trim().split(/\s+/)], { encoding: "utf8" })
  if (status !== 0) throw new Error(`"${packages}" cannot be tested: ${stderr}`)
  return join(stdout.trim(), "bin")
}

/** The packages of `SUITE PACKAGE...` with their versions: `bird3 3.1.8-0+deb13u1`. */
export const packagesOf = (packages: string): ReadonlyArray<string> =>
  readFileSync(join(dirname(programsOf(packages)), "versions"), "utf8").trim().split("\n")

const PATH = process.env["PATH"]

/** Puts the programs of `wanted` first in PATH, for this process and what it starts; empty: this machine's again. */
export const chooseVersions = (wanted: string): void => {
  process.env["PATH"] = [...wanted.split(",").filter((one) => one.trim() !== "").map(programsOf), PATH].join(":")
}
