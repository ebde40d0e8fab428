/**
 * How to reach the API server and as whom: the one place that touches `@kubernetes/client-node`, whose `KubeConfig` knows
 * kubeconfig files, service accounts, client certificates, exec plugins and proxies. Requests themselves go through
 * `node:https` (see `client.ts`): the generated API classes would open a connection pool for every request.
 */
import { KubeConfig } from "@kubernetes/client-node/dist/config.js"
import { Clock, Data, Effect } from "effect"
import * as http from "node:http"
import * as https from "node:https"

/** No answer of the API server (`status` 0), or one that is not a success. */
export class ApiError extends Data.TaggedError("ApiError")<{
  /** What was asked, and what came back. */
  readonly message: string
  /** HTTP status; 0: no answer. */
  readonly status: number
  /** Of the `Retry-After` header. */
  readonly retryAfterSeconds?: number
}> {}

export interface Access {
  /** Base URL, without a slash at the end. */
  readonly server: string
  /** TLS material, authorization header and connection pool. */
  readonly options: https.RequestOptions
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

const read = (kubeconfig: string | undefined): KubeConfig => {
  const config = new KubeConfig()
  if (kubeconfig !== undefined) {
    config.loadFromFile(kubeconfig)
  } else if (process.env["KUBERNETES_SERVICE_HOST"] === undefined) {
    throw new Error("not in a cluster (KUBERNETES_SERVICE_HOST is not set): give --kubeconfig FILE")
  } else {
    config.loadFromCluster()
  }
  if (config.getCurrentCluster() === null) throw new Error("its current-context names no cluster")
  return config
}

/** `kubeconfig` undefined: the pod's own service account. */
export const make = (kubeconfig: string | undefined): Accesses => {
  const source = kubeconfig === undefined ? "the service account" : `kubeconfig ${kubeconfig}`
  const pools = {
    "http:": new http.Agent({ keepAlive: true, keepAliveMsecs: 15_000 }),
    "https:": new https.Agent({ keepAlive: true, keepAliveMsecs: 15_000 })
  }
  let known: { readonly at: number; readonly access: Access } | undefined

  const load = async (): Promise<Access> => {
    const config = read(kubeconfig)
    const cluster = config.getCurrentCluster()
    const server = cluster?.server ?? ""
    const options: https.RequestOptions = {}
    await config.applyToHTTPSOptions(options)
    if (cluster?.proxyUrl === undefined) {
      options.agent = server.startsWith("https:") ? pools["https:"] : pools["http:"]
    }
    return { server, options }
  }

  return {
    renew: Effect.sync(() => {
      known = undefined
    }),
    dropIdle: Effect.sync(() => {
      for (const { freeSockets } of Object.values(pools)) {
        for (const socket of Object.values(freeSockets).flat()) socket?.destroy()
      }
    }),
    get: Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      if (known !== undefined && now - known.at < FRESH_MILLIS) return known.access
      const access = yield* Effect.tryPromise({
        try: load,
        catch: (e) =>
          new ApiError({
            message: `${source} cannot be used: ${e instanceof Error ? e.message : String(e)}`,
            status: 0
          })
      })
      known = { at: now, access }
      return access
    })
  }
}
