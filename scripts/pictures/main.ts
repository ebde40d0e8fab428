/**
 * `node scripts/pictures/main.ts [--record]`: the pictures of README.md, as docs/images/*.svg. `--record` first runs the
 * demo, after `npm run build` and as root, and keeps what it prints in docs/images/demo.json.
 */
import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { overview } from "./overview.ts"
import { type Recording, terminal } from "./terminal.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const IMAGES = join(ROOT, "docs/images")

const read = (): Recording => JSON.parse(readFileSync(join(IMAGES, "demo.json"), "utf8"))

/** Every picture, by its name in docs/images. */
export const pictures = (): Readonly<Record<string, string>> => ({
  "overview.svg": overview(),
  "demo.svg": terminal(read(), { rows: 32, columns: 118, still: "4. Anycast follows readiness" })
})

const record = (): void => {
  const env = { ...process.env, FORCE_COLOR: "1" }
  const text = execFileSync(process.execPath, [join(ROOT, "scripts/demo.ts")], { encoding: "utf8", env })
  const recording: Recording = { command: "npm run demo", lines: text.trimEnd().split("\n") }
  writeFileSync(join(IMAGES, "demo.json"), `${JSON.stringify(recording, undefined, 2)}\n`)
}

if (import.meta.main) {
  mkdirSync(IMAGES, { recursive: true })
  if (process.argv.includes("--record")) record()
  for (const [name, text] of Object.entries(pictures())) writeFileSync(join(IMAGES, name), text)
}
