/** Kubernetes' e2e.test on a cluster, several processes of it at once. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import { createInterface } from "node:readline"
import type { Cluster } from "../../lab/Cluster.ts"
import { enter, run } from "../../lab/exec.ts"
import { makeImage } from "./image.ts"
import { parseJUnit, type Result } from "./report.ts"
import { focus, share } from "./selection.ts"

const KUBE = process.env["FLOCK_KUBE_DIR"] ?? resolve(import.meta.dirname, "../../../shared/kube")

/** The folder with e2e.test and what its images need. */
export const programs = async (): Promise<string> =>
  (await run(join(KUBE, "kube-bin"), "agnhost", "e2e.test", "coredns")).trim()

/** What the tests expect of a cluster: their image, and a DNS server. */
export const prepare = async (cluster: Cluster): Promise<void> => {
  await cluster.command("load", await makeImage(cluster.place.directory, await programs()))
  await cluster.command("dns")
}

export interface E2eOptions {
  /** How many of e2e.test at once. */
  readonly processes: number
  /** After that many seconds what runs fails, and the rest has no result. */
  readonly seconds: number
  /** An estimate, to share the tests out. */
  readonly secondsOf?: (name: string) => number
  /** Is told of each test's end. */
  readonly onEnd?: () => void
}

/** One process, to its end; a test that it did not come to has no result. */
const runShare = async (
  cluster: Cluster,
  bin: string,
  names: ReadonlyArray<string>,
  { onEnd, seconds }: E2eOptions
): Promise<ReadonlyArray<Result>> => {
  const report = mkdtempSync(join(cluster.place.directory, "e2e-"))
  const [program = "", ...args] = [
    ...enter(cluster.netns("cp")),
    join(bin, "e2e.test"),
    "--provider=local",
    `--kubeconfig=${join(cluster.place.directory, "admin.kubeconfig")}`,
    `--num-nodes=${cluster.place.nodes}`,
    "--dns-domain=cluster.local",
    "--disable-log-dump",
    `--report-dir=${report}`,
    "--ginkgo.v",
    "--ginkgo.no-color",
    `--ginkgo.timeout=${seconds}s`,
    ...names.map((name) => `--ginkgo.focus=${focus(name)}`)
  ]
  const child = spawn(program, args, {
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"]}` },
    stdio: ["ignore", "pipe", "pipe"]
  })
  const stop = () => child.kill()
  process.once("exit", stop)
  try {
    const tail: Array<string> = []
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on("line", (line) => {
        if (/^[•SP] \[/.test(line)) onEnd?.()
        if (tail.push(line) > 40) tail.shift()
      })
    }
    await once(child, "close")
    try {
      return parseJUnit(readFileSync(join(report, "junit_01.xml"), "utf8"))
    } catch (error) {
      throw new Error(`e2e.test left no report:\n${tail.join("\n")}`, { cause: error })
    }
  } finally {
    process.off("exit", stop)
    stop()
    rmSync(report, { recursive: true })
  }
}

/** Results of these tests, in the order of `names`. */
export const runTests = async (
  cluster: Cluster,
  names: ReadonlyArray<string>,
  options: E2eOptions
): Promise<ReadonlyArray<Result>> => {
  const bin = await programs()
  const shares = share(names, options.processes, options.secondsOf ?? (() => 20))
  const results = (await Promise.all(shares.map((names) => runShare(cluster, bin, names, options)))).flat()
  return names.map((name) =>
    results.find((result) => result.name === name) ??
      { name, outcome: "failed", seconds: 0, detail: "e2e.test did not come to it" }
  )
}

/** Namespaces of tests, which go by themselves after their test's end. */
export const leftNamespaces = async (cluster: Cluster): Promise<ReadonlyArray<string>> =>
  (await cluster.get("namespaces", "-l", "e2e-run")).items.map(
    ({ metadata }: { readonly metadata: { readonly name: string } }) => metadata.name
  )
