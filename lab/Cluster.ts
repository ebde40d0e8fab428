/**
 * A whole Kubernetes on this machine by `../shared/kube/cluster` (its head is its manual): API server, nodes with kubelet and
 * containerd, a router's namespace `tor`, and a client behind it. Everything of it ends with this process, however that ends.
 */
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { exec, type Outcome, run } from "./exec.ts"
import { until } from "./until.ts"

const folder = process.env["FLOCK_KUBE_DIR"] ?? resolve(import.meta.dirname, "../../shared/kube")
const program = join(folder, "cluster")

/** Whether tests with a cluster can run here. */
export const clusterAvailable = existsSync(program)

/** Where a cluster is: enough for another process to use it. */
export interface ClusterPlace {
  readonly directory: string
  /** Of the names of all its namespaces: `PREFIXnode1`, `PREFIXtor`, … */
  readonly prefix: string
  readonly nodes: number
}

/** Arguments: prefix, program, folder. Waits for the end of the pipe, and leaves nothing. */
const KEEP = `
cat >/dev/null
PREFIX=$1 "$2" down "$3"
for try in 1 2 3 4 5; do
  find /sys/fs/cgroup -depth -type d -path "*/$1node*" -exec rmdir {} + && break
  sleep 0.2
done 2>/dev/null
rm -rf --one-file-system "$3"
`

/** One object as the API server gives it. */
// oxlint-disable-next-line typescript/no-explicit-any -- what the API server says is looked at field by field
export type KubeObject = any

export class Cluster implements AsyncDisposable {
  readonly place: ClusterPlace
  #release: () => Promise<void> = async () => undefined

  /** One that is up already, of another process. */
  constructor(place: ClusterPlace) {
    this.place = place
  }

  /** Brings one up, which takes 10 to 30 s; nodes are NotReady until there is a CNI. `env`: what the program's head names. */
  static async open(nodes = 2, env: Readonly<Record<string, string>> = {}): Promise<Cluster> {
    const prefix = `f${randomBytes(3).toString("hex")}-`
    const directory = mkdtempSync(join(tmpdir(), "flock-cluster-"))
    // FRR's daemons give up root and have a folder in it.
    await run("chmod", "755", directory)
    const keeper = spawn("sh", ["-c", KEEP, "sh", prefix, program, directory], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true
    })
    keeper.unref()
    const cluster = new Cluster({ directory, prefix, nodes })
    cluster.#release = async () => {
      keeper.ref()
      const ended = once(keeper, "exit")
      keeper.stdin.end()
      await ended
    }
    try {
      const { code, stderr, stdout } = await cluster.try("up", [String(nodes)], undefined, env)
      if (code !== 0) throw new Error(`cluster up: exit ${code}: ${stderr || stdout}`)
    } catch (error) {
      await cluster.close()
      throw error
    }
    return cluster
  }

  close(): Promise<void> {
    const release = this.#release
    this.#release = async () => undefined
    return release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** `cluster VERB DIR ARGS…`, whatever its exit code. */
  try(
    verb: string,
    args: ReadonlyArray<string>,
    input?: string,
    more: Readonly<Record<string, string>> = {}
  ): Promise<Outcome> {
    const { directory, prefix } = this.place
    const env = { ...process.env, ...more, PREFIX: prefix }
    return exec(program, [verb, directory, ...args], { env, ...input !== undefined && { input } })
  }

  /** `cluster VERB DIR ARGS…`, which must succeed. */
  async command(verb: string, ...args: ReadonlyArray<string>): Promise<string> {
    const { code, stderr, stdout } = await this.try(verb, args)
    if (code !== 0) throw new Error(`cluster ${verb} ${args.join(" ")}: exit ${code}: ${stderr || stdout}`)
    return stdout
  }

  /** A folder with a `kubectl` that is cluster-admin's, for programs that look for one in PATH. */
  kubectlFolder(): string {
    const { directory, prefix } = this.place
    const folder = join(directory, "kubectl")
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, "kubectl"), `#!/bin/sh\nPREFIX=${prefix} exec "${program}" k "${directory}" "$@"\n`, {
      mode: 0o755
    })
    return folder
  }

  /** kubectl as cluster-admin. */
  kubectl(...args: ReadonlyArray<string>): Promise<string> {
    return this.command("k", ...args)
  }

  /** `kubectl get ARGS -o json`. */
  async get(...args: ReadonlyArray<string>): Promise<KubeObject> {
    return JSON.parse(await this.kubectl("get", ...args, "-o", "json"))
  }

  /** Objects by `kubectl apply`. */
  async apply(...objects: ReadonlyArray<object>): Promise<void> {
    const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects })
    const { code, stderr } = await this.try("k", ["apply", "-f", "-"], list)
    if (code !== 0) throw new Error(`kubectl apply: ${stderr}`)
  }

  /** A command in node i's namespaces; the first node is 1. */
  node(i: number, ...command: ReadonlyArray<string>): Promise<string> {
    return this.command("node", String(i), ...command)
  }

  /** Ends what runs on node i whose command line has this text, as a fault does. */
  async kill(i: number, text: string): Promise<void> {
    const pids = (await exec("ip", ["netns", "pids", this.netns(`node${i}`)])).stdout.split("\n")
    const found = pids.filter((pid) => {
      try {
        return pid !== "" && readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").includes(text)
      } catch {
        return false
      }
    })
    if (found.length === 0) throw new Error(`nothing on node${i} runs "${text}"`)
    for (const pid of found) process.kill(Number(pid), "SIGKILL")
  }

  netns(role: string): string {
    return `${this.place.prefix}${role}`
  }

  /** What a node's `/run/flock` is on this machine. */
  stateOf(i: number): string {
    return join(this.place.directory, `node${i}/run-flock`)
  }

  /** Waits until kubelet reports it Ready. */
  ready(i: number, seconds = 60): Promise<true> {
    return until(`node${i} is Ready`, async () => {
      const { status } = await this.get("node", `node${i}`)
      return status.conditions.some((c: KubeObject) => c.type === "Ready" && c.status === "True")
    }, seconds)
  }
}
