/**
 * The real API server of `../shared/kube` (or FLOCK_KUBE_DIR), one per test file, in a folder and on ports of its own.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as https from "node:https"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const folder = process.env["FLOCK_KUBE_DIR"] ?? resolve(import.meta.dirname, "../../../shared/kube")
const program = join(folder, "kube-apiserver-up")

/** Whether the tests can run here; if not, they are reported as skipped and this says why. */
export const available = existsSync(program)
if (!available) {
  console.warn(`SKIPPED: no real API server at ${program}: set FLOCK_KUBE_DIR to the folder of kube-apiserver-up`)
}

export interface Answer {
  readonly status: number
  // oxlint-disable-next-line typescript/no-explicit-any -- what the API server says is looked at field by field
  readonly body: any
}

export interface ApiServer {
  readonly dir: string
  readonly url: string
  readonly kubeconfig: (who: "admin" | "agent" | "nobody") => string
  readonly call: (
    method: string,
    path: string,
    body?: unknown,
    type?: string,
    who?: string,
    accept?: string
  ) => Promise<Answer>
  /** Of the API server's process. */
  readonly signal: (signal: NodeJS.Signals) => void
  readonly restart: () => void
  readonly stop: () => Promise<void>
}

export const pathOf = (
  { apiVersion, kind, metadata }: {
    readonly apiVersion: string
    readonly kind: string
    readonly metadata: { readonly name: string; readonly namespace?: string }
  }
): string => {
  const plural = `${kind.toLowerCase()}s`
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const scope = metadata.namespace === undefined ? "" : `/namespaces/${metadata.namespace}`
  return `${root}${scope}/${plural}/${metadata.name}`
}

/** For flags that name it: `--audit-policy-file=DIR/audit.yaml`. */
const AUDIT_POLICY = JSON.stringify({
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  rules: [{ level: "Metadata" }]
})

/** `flags` are the API server's; `DIR` in them is its folder. */
export const start = async (flags = ""): Promise<ApiServer> => {
  const dir = mkdtempSync(join(tmpdir(), `flock-kube-${process.pid}-`))
  const env = {
    ...process.env,
    KUBE_APISERVER_FLAGS: flags.replaceAll("DIR", dir)
  }
  writeFileSync(join(dir, "audit.yaml"), AUDIT_POLICY)
  const child: ChildProcess = spawn(program, [dir], { env, stdio: ["ignore", "ignore", "inherit"] })
  const read = (name: string) => readFileSync(join(dir, name), "utf8").trim()
  const pid = () => Number(read("apiserver.pid"))

  const stop = async () => {
    const ended = new Promise((done) => child.once("exit", done))
    const pids = ["apiserver.pid", "etcd.pid"].filter((f) => existsSync(join(dir, f))).map((f) => Number(read(f)))
    child.kill("SIGTERM")
    if (child.exitCode === null) await ended
    for (const left of pids) {
      try {
        process.kill(left, "SIGKILL")
      } catch {
        // gone already
      }
    }
    rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }

  for (let i = 0; !existsSync(join(dir, "ready")); i++) {
    if (child.exitCode !== null || i > 1200) {
      await stop()
      throw new Error(`kube-apiserver-up did not come up (exit code ${child.exitCode})`)
    }
    await sleep(50)
  }

  const agent = new https.Agent({ keepAlive: true, ca: read("ca.crt") })
  const url = read("url")
  const call: ApiServer["call"] = (method, path, body, type = "application/json", who = "admin", accept = "*/*") =>
    new Promise((done, fail) => {
      const headers = { Authorization: `Bearer ${who}-token`, "Content-Type": type, Accept: accept }
      const request = https.request(url + path, { method, headers, agent }, (response) => {
        const chunks: Array<Buffer> = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("error", fail)
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8")
          try {
            done({ status: response.statusCode ?? 0, body: JSON.parse(text) })
          } catch {
            done({ status: response.statusCode ?? 0, body: text })
          }
        })
      })
      request.on("error", fail)
      request.end(body === undefined ? undefined : JSON.stringify(body))
    })

  return {
    dir,
    url,
    kubeconfig: (who) => join(dir, `${who}.kubeconfig`),
    call,
    signal: (signal) => process.kill(pid(), signal),
    restart: () => {
      const { status } = spawnSync(program, ["--restart-api", dir], { env, stdio: ["ignore", "ignore", "inherit"] })
      if (status !== 0) throw new Error(`kube-apiserver-up --restart-api: exit code ${status}`)
    },
    stop
  }
}
