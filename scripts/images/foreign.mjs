/**
 * `foreign.mjs CPU` (x64 or arm64), after npm ci on another CPU: adds the packages that package-lock.json has for that one, which npm
 * leaves out, each with the lock file's sha512.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const cpu = process.argv[2]
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"))
const wanted = Object.entries(packages).filter(([path, entry]) =>
  entry.cpu?.includes(cpu) && entry.os?.includes("linux") && !entry.libc?.includes("musl") && !entry.dev &&
  /\/(@koromix\/koffi-|node-)linux/.test(path) && !existsSync(path)
)
const work = mkdtempSync(join(tmpdir(), "foreign-"))
for (const [path, { integrity, version }] of wanted) {
  const name = path.slice("node_modules/".length)
  const options = { encoding: "utf8", maxBuffer: 1 << 28 }
  const file = execFileSync("npm", ["pack", "--silent", "--pack-destination", work, `${name}@${version}`], options)
    .trim()
  const archive = join(work, file.split("\n").at(-1))
  const hash = `sha512-${createHash("sha512").update(readFileSync(archive)).digest("base64")}`
  if (hash !== integrity) throw new Error(`${name} ${version}: ${hash}, but package-lock.json has ${integrity}`)
  mkdirSync(path, { recursive: true })
  execFileSync("tar", ["-xzf", archive, "-C", path, "--strip-components=1"])
  console.log(`${name} ${version}`)
}
rmSync(work, { recursive: true })
