/**
 * The real API server of `../shared/kube` (or FLOCK_KUBE_DIR), in a folder of the world and on ports of its own.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import * as https from "node:https"
import { join, resolve } from "node:path"
import { end, exec } from "./exec.ts"
import { Relay } from "./Relay.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

const folder = process.env["FLOCK_KUBE_DIR"] ?? resolve(import.meta.dirname, "../../shared/kube")
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
    who?: string | { readonly token: string },
    accept?: string
  ) => Promise<Answer>
  /** Of the API server's process. */
  readonly signal: (signal: NodeJS.Signals) => void
  readonly restart: () => void
  /** The same, for a process that has other things to do meanwhile. */
  readonly startAgain: () => Promise<void>
  /** A relay in front of it, and a kubeconfig that leads through the relay; see {@link Relay.open}. */
  readonly relay: (
    who?: "agent" | "admin",
    netns?: string
  ) => Promise<{ readonly relay: Relay; readonly kubeconfig: string }>
}

export const pathOf = (
  { apiVersion, kind, metadata }: {
    readonly apiVersion: string
    readonly kind: string
    readonly metadata: { readonly name: string; readonly namespace?: string }
  }
): string => {
  const plural = kind.toLowerCase().replace(/y$/, "ie") + "s"
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
export const start = async (world: World, flags = ""): Promise<ApiServer> => {
  const dir = world.folder("kube")
  const env = { ...world.env(), KUBE_APISERVER_FLAGS: flags.replaceAll("DIR", dir) }
  writeFileSync(join(dir, "audit.yaml"), AUDIT_POLICY)
  const child = world.spawn([program, dir], { env, log: join(dir, "up.log") })
  const read = (name: string) => readFileSync(join(dir, name), "utf8").trim()
  // One that was started again is nobody's child; the world ends it.
  world.defer(() => end(child))
  await until("the API server", () => {
    if (child.exitCode !== null) throw new Error(`exit code ${child.exitCode}: ${read("up.log")}`)
    return existsSync(join(dir, "ready"))
  }, 60)

  const agent = new https.Agent({ keepAlive: true, ca: read("ca.crt") })
  const url = read("url")
  const call: ApiServer["call"] = (method, path, body, type = "application/json", who = "admin", accept = "*/*") =>
    new Promise((done, fail) => {
      const token = typeof who === "string" ? `${who}-token` : who.token
      const headers = { Authorization: `Bearer ${token}`, "Content-Type": type, Accept: accept }
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
    signal: (signal) => process.kill(Number(read("apiserver.pid")), signal),
    restart: () => {
      const { status } = spawnSync(program, ["--restart-api", dir], { env, stdio: ["ignore", "ignore", "inherit"] })
      if (status !== 0) throw new Error(`kube-apiserver-up --restart-api: exit code ${status}`)
    },
    startAgain: async () => {
      const { code, stderr } = await exec(program, ["--restart-api", dir], { env })
      if (code !== 0) throw new Error(`kube-apiserver-up --restart-api: exit code ${code}: ${stderr}`)
    },
    relay: async (who = "agent", netns) => {
      const { hostname, port } = new URL(url)
      const relay = await Relay.open(world, { host: hostname, port: Number(port) }, netns)
      const kubeconfig = join(dir, `relay-${who}-${netns ?? relay.port}.kubeconfig`)
      const direct = readFileSync(join(dir, `${who}.kubeconfig`), "utf8")
      writeFileSync(kubeconfig, direct.replace(url, `https://127.0.0.1:${relay.port}`))
      return { relay, kubeconfig }
    }
  }
}
