import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, Ref, Result } from "effect"
import * as Net from "node:net"
import { serve, targetOf } from "../../../src/report/Http.ts"
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

interface Options {
  readonly members?: Partial<NodeReporter["Service"]>
  readonly beforeScrape?: Effect.Effect<void>
  readonly freshMillis?: number
}

const listening = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect(port, "127.0.0.1", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.on("error", () => resume(Effect.succeed(false)))
  })

const podMetrics = Effect.succeed("flock_test_of_pods 1\n")

/** Serves while `use` runs. */
const serving = <A, E>(use: (port: number) => Effect.Effect<A, E>, options: Options = {}) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const { beforeScrape = Effect.void, freshMillis = 0, members } = options
    yield* serve({ target: { host: "127.0.0.1", port }, beforeScrape, freshMillis, podMetrics }).pipe(
      Effect.provide(reporter(members)),
      Effect.forkScoped
    )
    yield* Effect.repeat(listening(port), { until: (is) => is })
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

  it.live("renders once a second, however many ask", () =>
    Effect.gen(function*() {
      const renderings = yield* Ref.make(0)
      yield* serving((port) =>
        Effect.gen(function*() {
          yield* Effect.all(Array.from({ length: 20 }, () => get(port, "/metrics")), { concurrency: 20 })
          assert.strictEqual(yield* Ref.get(renderings), 1)
          yield* Effect.sleep("1100 millis")
          yield* get(port, "/metrics")
          assert.strictEqual(yield* Ref.get(renderings), 2)
        }), { beforeScrape: Ref.update(renderings, (n) => n + 1), freshMillis: 1000 })
    }))

  it.live("answers the first request of a connection, whatever else is sent on it", () =>
    serving((port) =>
      Effect.gen(function*() {
        const ask = (text: string) =>
          Effect.callback<string>((resume) => {
            const got: Array<string> = []
            const socket = Net.connect(port, "127.0.0.1", () => socket.write(text))
            socket.on("error", () => undefined).on("data", (chunk) => got.push(String(chunk)))
            socket.on("close", () => resume(Effect.sync(() => got.join(""))))
          })
        const one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        assert.strictEqual((yield* ask(one.repeat(3))).match(/HTTP\/1.1 200 OK/g)?.length, 1)
        const head = yield* ask("HEAD /metrics HTTP/1.0\n\n")
        assert.match(head, /^HTTP\/1.1 200 OK\r\n[\s\S]*Content-Length: [1-9]\d+\r\nConnection: close\r\n\r\n$/)
        assert.match(yield* ask(`GET / HTTP/1.1\r\nX: ${"x".repeat(9000)}`), /^HTTP\/1.1 431 /)
        for (const text of ["\r\n\r\n", "GET\r\n\r\n", "\0\xff\n\n", "PRI * HTTP/2.0\r\n\r\n"]) {
          assert.match(yield* ask(text), /^HTTP\/1.1 404 /)
        }
      })
    ))

  it.live("does not listen while connections come faster than it takes them, and does again", () =>
    serving((port) =>
      Effect.gen(function*() {
        const outcomes = yield* Effect.forEach(Array.from({ length: 400 }), () => listening(port), { concurrency: 50 })
        assert.isAbove(outcomes.filter((connected) => !connected).length, 100, "the kernel refuses them")
        yield* Effect.sleep("2500 millis")
        assert.strictEqual((yield* get(port, "/healthz")).status, 200)
      })
    ))

  it.live(
    "holds 32 connections and no more, and none of them for ever",
    () =>
      serving((port) =>
        Effect.gen(function*() {
          const sockets = Array.from({ length: 40 }, () => Net.connect(port, "127.0.0.1").on("error", () => undefined))
          const began = performance.now()
          yield* Effect.sleep("500 millis")
          const open = () => sockets.filter((socket) => socket.readyState === "open").length
          assert.strictEqual(open(), 32)
          const dripping = setInterval(() => sockets.forEach((socket) => socket.write("G")), 500)
          yield* Effect.repeat(Effect.delay(Effect.sync(open), "100 millis"), { until: (n) => n === 0 }).pipe(
            Effect.timeout("13 seconds")
          )
          clearInterval(dripping)
          assert.isBelow(performance.now() - began, 12_000)
          assert.strictEqual((yield* get(port, "/healthz")).status, 200)
        })
      ),
    20_000
  )

  it.each(["9476", "127.0.0.1:70000", "::1:9476"])("refuses %s in one sentence", (address) => {
    const target = targetOf(address)
    assert.strictEqual(
      Result.isFailure(target) ? target.failure.message : "taken",
      `--http ${address}: must be HOST:PORT, such as 127.0.0.1:9476`
    )
  })

  it.live("waits for a port that is taken, says so once, and answers when it is free", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const other = yield* Effect.callback<Net.Server>((resume) => {
        const server = Net.createServer().listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
      })
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => void said.push(String(message)))
      yield* serve({ target: { host: "127.0.0.1", port }, beforeScrape: Effect.void, podMetrics }).pipe(
        Effect.provide(Layer.merge(reporter(), Logger.layer([logger]))),
        Effect.forkScoped
      )
      yield* Effect.sleep("3500 millis")
      assert.strictEqual(said.length, 1, said.join("\n"))
      assert.match(said[0] ?? "", new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port} \\(--http\\): .*EADDRINUSE`))
      yield* Effect.callback<void>((resume) => void other.close(() => resume(Effect.void)))
      yield* Effect.repeat(Effect.delay(listening(port), "100 millis"), { until: (is) => is }).pipe(
        Effect.timeout("6 seconds")
      )
      assert.strictEqual((yield* get(port, "/healthz")).status, 200)
    }).pipe(Effect.scoped), 15_000)
})
