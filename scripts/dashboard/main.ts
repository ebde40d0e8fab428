/**
 * `node scripts/dashboard/main.ts [--record]`: manifests/overlays/monitoring/dashboard.json, and its picture
 * docs/images/dashboard.svg. `--record`, after `npm run build` and as root, first runs two minutes of a node with BIRD, FRR
 * and pods that come, flap and go, and keeps Prometheus' answers in docs/images/dashboard.json.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { draw, type Recorded } from "./draw.ts"
import { dashboardJson } from "./grafana.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const RECORDING = join(ROOT, "docs/images/dashboard.json")

/** Each file that is made, by its path. */
export const files = (): Readonly<Record<string, string>> => {
  const recorded: Recorded = JSON.parse(readFileSync(RECORDING, "utf8"))
  return {
    "manifests/overlays/monitoring/dashboard.json": dashboardJson(),
    "docs/images/dashboard.svg": draw(recorded)
  }
}

if (import.meta.main) {
  if (process.argv.includes("--record")) {
    const { record } = await import("./record.ts")
    writeFileSync(RECORDING, `${JSON.stringify(await record(120))}\n`)
  }
  for (const [file, content] of Object.entries(files())) writeFileSync(join(ROOT, file), content)
}
