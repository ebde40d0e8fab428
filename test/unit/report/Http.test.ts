import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric, Ref } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { createServer } from "node:http"
import * as Net from "node:net"
import { layer } from "../../../src/report/Http.ts"
import { NodeReporter } from "../../../src/report/NodeReporter.ts"

/** A port of loopback that is free now. */
const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const get = (port: number, path: string, init: RequestInit = {}) =>
  Effect.promise(async () => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, init)
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() }
  })

const reporter = (members: Partial<NodeReporter["Service"]> = {}) =>
  NodeReporter.layerTest({ publish: Effect.void, notReady: Effect.undefined, ...members })

const gauge = Metric.gauge("flock_test_scrapes", { description: "Of this test" })

/** Serves while `use` runs. */
const serving = <A>(
  use: (port: number) => Effect.Effect<A>,
  options: { readonly members?: Partial<NodeReporter["Service"]>; readonly beforeScrape?: Effect.Effect<void> } = {}
) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const http = layer({
      address: `127.0.0.1:${port}`,
      beforeScrape: options.beforeScrape ?? Effect.void,
      podMetrics: Effect.succeed("flock_test_of_pods 1\n")
    })
    yield* Layer.build(http.pipe(Layer.provide(reporter(options.members))))
    return yield* use(port)
  }).pipe(Effect.scoped)

describe("the agent's HTTP", () => {
  it.live("is alive, and ready or says why not", () =>
    Effect.gen(function*() {
      const reason = yield* Ref.make<string | undefined>("this node has no NodeConfig")
      yield* serving((port) =>
        Effect.gen(function*() {
          assert.deepInclude(yield* get(port, "/healthz"), { status: 200, text: "ok\n" })
          assert.deepInclude(yield* get(port, "/readyz"), { status: 503, text: "this node has no NodeConfig\n" })
          yield* Ref.set(reason, undefined)
          assert.deepInclude(yield* get(port, "/readyz?verbose"), { status: 200, text: "ok\n" })
        }), { members: { notReady: Ref.get(reason) } })
    }))

  it.live("brings the gauges up to date before they are read", () =>
    Effect.gen(function*() {
      const scrapes = yield* Ref.make(0)
      const count = Ref.updateAndGet(scrapes, (n) => n + 1).pipe(Effect.flatMap((n) => Metric.update(gauge, n)))
      yield* serving((port) =>
        Effect.gen(function*() {
          for (const scrape of [1, 2]) {
            const { status, text, type } = yield* get(port, "/metrics")
            assert.strictEqual(status, 200)
            assert.strictEqual(type, "text/plain; version=0.0.4; charset=utf-8")
            assert.match(text, /^flock_test_of_pods 1$/m)
            assert.match(text, new RegExp(`^# TYPE flock_test_scrapes gauge\nflock_test_scrapes ${scrape}$`, "m"))
          }
        }), { beforeScrape: count })
    }))

  it.live("says what there is where there is nothing, whatever is asked", () =>
    serving((port) =>
      Effect.gen(function*() {
        for (const path of ["/", "/metrics/x", "/%2e%2e/etc/passwd", "/healthz%00", "/a".repeat(2000)]) {
          const { status, text } = yield* get(port, path)
          assert.strictEqual(status, 404, path)
          assert.match(text, /\/metrics, \/healthz and \/readyz/)
        }
        assert.strictEqual((yield* get(port, "/metrics", { method: "POST", body: "x" })).status, 404)
      })
    ))

  it.live("a fault in one answer is a 500 and is not the end", () =>
    serving((port) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* get(port, "/readyz")).status, 500)
        assert.strictEqual((yield* get(port, "/healthz")).status, 200)
      }), { members: { notReady: Effect.die(new Error("bug")) } }))

  it.live("ends at once, whatever is half asked or kept open", () =>
    Effect.gen(function*() {
      const ended = yield* serving((port) =>
        Effect.gen(function*() {
          yield* Effect.callback<void>((resume) => {
            const half = Net.connect(port, "127.0.0.1", () => half.write("GET /metrics HT", () => resume(Effect.void)))
            half.on("error", () => undefined)
          })
          yield* get(port, "/healthz")
          return performance.now()
        })
      )
      assert.isBelow(performance.now() - ended, 2000)
    }))

  it.live("does not end where a connection could not be accepted", () =>
    serving((port) =>
      Effect.gen(function*() {
        const servers: Array<Net.Server> = []
        const note = (message: unknown) => servers.push((message as { readonly server: Net.Server }).server)
        subscribe("http.server.request.start", note)
        yield* get(port, "/healthz")
        unsubscribe("http.server.request.start", note)
        assert.isTrue(servers[0]?.emit("error", new Error("accept EMFILE")))
        assert.strictEqual((yield* get(port, "/healthz")).status, 200)
      })
    ))

  it.live.each<[string, RegExp]>([
    ["9476", /cannot listen on 9476 \(--http\): must be HOST:PORT, such as/],
    ["127.0.0.1:70000", /must be HOST:PORT/],
    ["::1:9476", /must be HOST:PORT/],
    ["192.0.2.1:9476", /cannot listen on 192\.0\.2\.1:9476 \(--http\): .*EADDRNOTAVAIL/]
  ])("refuses %s in one sentence", ([address, words]) =>
    Effect.gen(function*() {
      const http = layer({ address, beforeScrape: Effect.void, podMetrics: Effect.succeed("") }).pipe(
        Layer.provide(reporter())
      )
      const error = yield* Effect.flip(Effect.scoped(Layer.build(http)))
      assert.match(error.message, words)
    }))

  it.live("says that the port is taken", () =>
    Effect.gen(function*() {
      const server = createServer()
      const port = yield* Effect.callback<number>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as Net.AddressInfo).port)))
      })
      const http = layer({ address: `127.0.0.1:${port}`, beforeScrape: Effect.void, podMetrics: Effect.succeed("") })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(http.pipe(Layer.provide(reporter())))))
      assert.match(error.message, /EADDRINUSE/)
      server.close()
    }))
})
