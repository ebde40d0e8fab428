/**
 * How to reach the API server and as whom: the one place that touches `@kubernetes/client-node`, whose `KubeConfig` knows
 * kubeconfig files, service accounts, client certificates, exec plugins and proxies. Its generated API classes would open
 * a connection pool for every request; ours is one `node:https` agent behind Effect's HttpClient.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { KubeConfig } from "@kubernetes/client-node/dist/config.js"
import { Data, Effect } from "effect"
import type { HttpClient } from "effect/http/HttpClient"
import type * as http from "node:http"
import type * as https from "node:https"
import { isDeepStrictEqual } from "node:util"
import { monotonicMillis } from "../process/monotonic.ts"
import { listening, poolAgent } from "./poolAgent.ts"

/** No answer of the API server (`status` 0), or one that is not a success. */
export class ApiError extends Data.TaggedError("ApiError")<{
  /** What was asked, and what came back. */
  readonly message: string
  /** HTTP status; 0: no answer. */
  readonly status: number
  /** Of the `Retry-After` header. */
  readonly retryAfterSeconds?: number
  /** Fields that somebody else manages, each with whom, of a server-side apply without force that is refused for them. */
  readonly conflicts?: ReadonlyArray<string>
}> {}

export interface Access {
  /** Base URL, without a slash at the end. */
  readonly server: string
  /** Credentials. */
  readonly headers: Readonly<Record<string, string>>
  readonly http: HttpClient
}

export interface Accesses {
  readonly get: Effect.Effect<Access, ApiError>
  /** Forget what was read: the server no longer takes it (401). */
  readonly renew: Effect.Effect<void>
  /** Close pooled connections: one that went silent is seldom alone. */
  readonly dropIdle: Effect.Effect<void>
}

/** The token and certificate files are read again after this time, as client-go does: kubelet rotates them. */
const FRESH_MILLIS = 60_000

/** As client-go has it. */
export const inCluster = (): boolean => process.env["KUBERNETES_SERVICE_HOST"] !== undefined

const read = (kubeconfig: string | undefined): KubeConfig => {
  const config = new KubeConfig()
  if (kubeconfig !== undefined) {
    config.loadFromFile(kubeconfig)
  } else if (!inCluster()) {
    throw new Error("not in a cluster (KUBERNETES_SERVICE_HOST is not set): give --kubeconfig FILE")
  } else {
    config.loadFromCluster()
  }
  if (config.getCurrentCluster() === null) throw new Error("its current-context names no cluster")
  return config
}

const headersOf = ({ auth, headers }: https.RequestOptions): Readonly<Record<string, string>> => ({
  ...(headers as Readonly<Record<string, string>> | undefined),
  ...(typeof auth === "string" ? { Authorization: `Basic ${Buffer.from(auth).toString("base64")}` } : {})
})

const clientOver = (agent: http.Agent): HttpClient =>
  Effect.runSync(Effect.provideService(NodeHttpClient.makeNodeHttp, NodeHttpClient.HttpAgent, {
    http: agent,
    https: agent as https.Agent
  }))

/** One connection pool, as long as the TLS material stays the same. */
class Pool {
  #tls: https.AgentOptions = {}
  #agent: http.Agent | undefined

  agent(server: string, { agent: _agent, auth: _auth, headers: _headers, ...tls }: https.RequestOptions): http.Agent {
    if (this.#agent === undefined || !isDeepStrictEqual(tls, this.#tls)) {
      this.dropIdle()
      this.#tls = tls as https.AgentOptions
      this.#agent = poolAgent(server.startsWith("https:") ? this.#tls : undefined)
    }
    return this.#agent
  }

  dropIdle(): void {
    for (const socket of Object.values(this.#agent?.freeSockets ?? {}).flat()) socket?.destroy()
  }
}

/** `kubeconfig` undefined: the pod's own service account. */
export const make = (kubeconfig: string | undefined): Accesses => {
  const source = kubeconfig === undefined ? "the service account" : `kubeconfig ${kubeconfig}`
  const pool = new Pool()
  const cached: { latest?: { readonly at: number; readonly access: Access } } = {}

  const load = async (): Promise<Access> => {
    const config = read(kubeconfig)
    const cluster = config.getCurrentCluster()
    const server = cluster?.server ?? ""
    const options: https.RequestOptions = {}
    await config.applyToHTTPSOptions(options)
    const proxied = cluster?.proxyUrl !== undefined && typeof options.agent === "object"
    const agent = proxied ? listening(options.agent as http.Agent) : pool.agent(server, options)
    return { server, headers: headersOf(options), http: clientOver(agent) }
  }

  return {
    renew: Effect.sync(() => {
      delete cached.latest
    }),
    dropIdle: Effect.sync(() => pool.dropIdle()),
    get: Effect.gen(function*() {
      const now = yield* monotonicMillis
      if (cached.latest !== undefined && now - cached.latest.at < FRESH_MILLIS) return cached.latest.access
      const access = yield* Effect.tryPromise({
        try: load,
        catch: (e) =>
          new ApiError({
            message: `${source} cannot be used: ${e instanceof Error ? e.message : String(e)}`,
            status: 0
          })
      })
      cached.latest = { at: now, access }
      return access
    })
  }
}
