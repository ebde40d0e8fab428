/**
 * `npm run conformance -- [--focus REGEX] [--processes N] [--write]`: Kubernetes' own network tests on a cluster of three
 * nodes, a zone each, with flock as the README installs it. `--write`: the result goes into result.json beside this file
 * and docs/conformance.md, with `--focus` in place of what is there of these tests; `--render` writes the latter alone, of
 * the former, and runs nothing.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { type Cluster, clusterAvailable } from "../../lab/Cluster.ts"
import { run } from "../../lab/exec.ts"
import { version } from "../../lab/site.ts"
import { bringUp } from "../cluster/bringUp.ts"
import { prepare, programs, runTests } from "./e2e.ts"
import { markdown, merged, type Result, type Run } from "./report.ts"
import { IN_CI, networkTests, runsAlone, whyNotRun } from "./selection.ts"

const NODES = 3
const RESULT = resolve(import.meta.dirname, "result.json")
const DOCUMENT = resolve(import.meta.dirname, "../../docs/conformance.md")

const { values } = parseArgs({
  options: {
    focus: { type: "string", default: "" },
    processes: { type: "string", default: "4" },
    write: { type: "boolean", default: false },
    render: { type: "boolean", default: false }
  }
})

const stored = (): Run | undefined => existsSync(RESULT) ? JSON.parse(readFileSync(RESULT, "utf8")) : undefined

const write = (run: Run): void => {
  writeFileSync(RESULT, `${JSON.stringify(run, null, 1)}\n`)
  writeFileSync(DOCUMENT, markdown(run, IN_CI))
}

/** Tests that may not run beside others come last, alone; what failed is tried once more after them. */
const runAll = async (cluster: Cluster, names: ReadonlyArray<string>, processes: number) => {
  const before = new Map(stored()?.results.map(({ name, seconds }) => [name, seconds]))
  let ended = 0
  const options = {
    seconds: 7200,
    secondsOf: (name: string) => before.get(name) ?? 30,
    onEnd: () => console.error(`conformance: ${++ended} of ${names.length}`)
  }
  const alone = names.filter(runsAlone)
  const results = [
    ...await runTests(cluster, names.filter((name) => !runsAlone(name)), { ...options, processes }),
    ...await runTests(cluster, alone, { ...options, processes: 1 })
  ]
  const failed = new Map(
    results.filter(({ outcome }) => outcome === "failed").map(({ detail, name }) => [name, detail])
  )
  if (failed.size > 0) console.error(`conformance: ${failed.size} failed, and are tried once more`)
  const again = await runTests(cluster, [...failed.keys()], { ...options, processes: 1, onEnd: () => undefined })
  return results.map((result): Result => {
    const second = again.find(({ name }) => name === result.name)
    return second === undefined ? result : { ...second, first: result.detail }
  })
}

const versionsOf = async (cluster: Cluster): Promise<string> => {
  const { items } = await cluster.get("nodes")
  const { containerRuntimeVersion, kernelVersion, kubeletVersion } = items[0].status.nodeInfo
  return [
    `flock ${version()}`,
    `Kubernetes ${kubeletVersion.replace("v", "")}`,
    containerRuntimeVersion.replace("://", " ").replace("+unknown", ""),
    "kube-proxy with nftables",
    `Linux ${kernelVersion}`
  ].join(", ")
}

const commit = async (): Promise<string> => {
  const changed = (await run("git", "status", "--porcelain", "--untracked-files=no")).trim() !== ""
  return `${(await run("git", "rev-parse", "--short", "HEAD")).trim()}${changed ? " with changes" : ""}`
}

const main = async (): Promise<boolean> => {
  const tree = await commit()
  const listing = await run(join(await programs(), "e2e.test"), "--list-tests")
  const names = networkTests(listing).filter((name) => new RegExp(values.focus).test(name))
  const chosen = names.filter((name) => whyNotRun(name) === undefined)
  const processes = Number(values.processes)
  const [cluster, close] = await bringUp(NODES)
  try {
    for (let i = 1; i <= NODES; i++) {
      await cluster.kubectl("label", "node", `node${i}`, `topology.kubernetes.io/zone=zone${i}`)
    }
    await prepare(cluster)
    const from = performance.now()
    const ran = await runAll(cluster, chosen, processes)
    const minutes = Math.round((performance.now() - from) / 60_000)
    const left = names.flatMap((name): ReadonlyArray<Result> => {
      const detail = whyNotRun(name)
      return detail === undefined ? [] : [{ name, outcome: "skipped", seconds: 0, detail }]
    })
    for (const { detail, first, name, outcome } of ran) {
      if (outcome !== "passed" || first !== undefined) {
        console.log(`${outcome}: ${name}: ${detail}${first === undefined ? "" : ` (at first: ${first})`}`)
      }
    }
    const failed = ran.filter(({ outcome }) => outcome === "failed").length
    console.log(`${ran.filter(({ outcome }) => outcome === "passed").length} passed, ${failed} failed`)
    if (values.write) {
      const found: Run = {
        date: new Date().toISOString().slice(0, 10),
        commit: tree,
        command: "npm run conformance -- --write",
        versions: await versionsOf(cluster),
        nodes: NODES,
        processes,
        minutes,
        results: [...ran, ...left]
      }
      const former = values.focus === "" ? undefined : stored()
      write(former === undefined ? found : merged(former, found))
    }
    return failed === 0 && ran.length > 0
  } finally {
    await close()
  }
}

const before = stored()
if (values.render && before !== undefined) {
  write(before)
} else if (clusterAvailable) {
  process.exitCode = await main() ? 0 : 1
} else {
  console.error("conformance: there is no ../shared/kube/cluster: set FLOCK_KUBE_DIR to its folder")
  process.exitCode = 1
}
