/** The client against HTTP servers that misbehave. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Access from "../../../src/kube/access.ts"
import * as Client from "../../../src/kube/client.ts"

const get = { verb: "get", resource: "pods", path: "/pod" } as const
const watch = { verb: "watch", resource: "pods", path: "/watch" } as const

const server = (handle: http.RequestListener) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<http.Server>((done) => {
        const made = http.createServer(handle).listen(0, "127.0.0.1", () => done(made))
      })
    ),
    (made) =>
      Effect.sync(() => {
        made.closeAllConnections()
        made.close()
      })
  )

const kubeconfig = (url: string, token: string) =>
  JSON.stringify({
    clusters: [{ name: "t", cluster: { server: url, "insecure-skip-tls-verify": true } }],
    users: [{ name: "t", user: { token } }],
    contexts: [{ name: "t", context: { cluster: "t", user: "t" } }],
    "current-context": "t"
  })

const clientFor = Effect.fnUntraced(function*(handle: http.RequestListener, timing = Client.timing) {
  const { port } = (yield* server(handle)).address() as AddressInfo
  const dir = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), `flock-client-${process.pid}-`))),
    (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
  )
  const file = join(dir, "kubeconfig")
  const put = (token: string) => writeFileSync(file, kubeconfig(`http://127.0.0.1:${port}/base`, token))
  put("first")
  return { client: Client.make(Access.make(file), timing), put }
})

describe("the client", () => {
  it.live("says what was asked, what came back and when to ask again; never what a page of a proxy says", () =>
    Effect.gen(function*() {
      const { client } = yield* clientFor((request, response) => {
        assert.strictEqual(request.url, "/base/pod")
        response.writeHead(429, { "Retry-After": "86400" })
        response.end("<html>busy</html>")
      })
      const error = yield* Effect.flip(client.request(get))
      assert.strictEqual(error.message, "GET /pod: the API server answered 429: Too Many Requests")
      assert.strictEqual(error.retryAfterSeconds, 60)
    }).pipe(Effect.scoped))

  it.live("takes no HTML for an object, and no broken answer for a whole one", () =>
    Effect.gen(function*() {
      const { client } = yield* clientFor((request, response) => {
        if (request.url?.endsWith("/half")) {
          response.writeHead(200, { "Content-Length": "1000" }).write("{")
          return response.destroy()
        }
        return response.end("<html>log in</html>")
      })
      const html = yield* Effect.flip(client.request(get))
      assert.strictEqual(html.message, "GET /pod: the answer is not JSON")
      const half = yield* Effect.flip(client.request({ ...get, path: "/half" }))
      assert.match(half.message, /^GET \/half: no answer from the API server: /)
      assert.strictEqual(half.status, 0)
    }).pipe(Effect.scoped))

  it.live("reads its credentials again when they are refused, once", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const { client, put } = yield* clientFor((request, response) => {
        seen.push(request.headers.authorization)
        response.writeHead(request.headers.authorization === "Bearer second" ? 200 : 401).end("{}")
      })
      assert.strictEqual((yield* Effect.flip(client.request(get))).status, 401)
      put("second")
      assert.deepStrictEqual(yield* client.request(get), {})
      assert.deepStrictEqual(seen, ["Bearer first", "Bearer first", "Bearer first", "Bearer second"])
    }).pipe(Effect.scoped))

  it.live("keeps one connection for what is asked one after another, and does so when its token is read again", () =>
    Effect.gen(function*() {
      const ports = new Set<number | undefined>()
      const { client, put } = yield* clientFor((request, response) => {
        ports.add(request.socket.remotePort)
        response.writeHead(request.headers.authorization === "Bearer second" ? 200 : 401).end("{}")
      })
      yield* Effect.flip(client.request(get))
      put("second")
      for (let i = 0; i < 20; i++) {
        yield* client.request({ ...get, verb: "patch", body: { i }, patch: "application/merge-patch+json" })
        yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
      }
      assert.strictEqual(ports.size, 1)
    }).pipe(Effect.scoped))

  it.live("sends no header that names a trace", () =>
    Effect.gen(function*() {
      const names: Array<string> = []
      const { client } = yield* clientFor((request, response) => {
        names.push(...Object.keys(request.headers))
        response.end("{}")
      })
      yield* client.request(get)
      assert.deepStrictEqual(names.toSorted(), ["accept", "authorization", "connection", "host", "user-agent"])
    }).pipe(Effect.scoped))

  it.live("gives up watches that are silent when a request hangs, and no others", () =>
    Effect.gen(function*() {
      const { client } = yield* clientFor((request, response) => {
        if (!request.url?.startsWith("/base/watch")) return
        response.flushHeaders()
        if (!request.url.endsWith("busy")) return
        const timer = setInterval(() => response.write("{\"type\":\"BOOKMARK\",\"object\":{}}\n"), 20)
        response.on("close", () => clearInterval(timer))
      }, { requestMillis: 300, idleMillis: 60_000 })
      const silent = yield* Effect.forkChild(Effect.flip(Stream.runDrain(client.watch(watch))))
      const busy = yield* Effect.forkChild(Stream.runDrain(client.watch({ ...watch, path: "/watch-busy" })))
      yield* Effect.sleep(100)
      yield* Effect.flip(client.request(get))
      yield* Effect.sleep(300)
      yield* Effect.flip(client.request(get))
      assert.match((yield* Fiber.join(silent)).message, /^GET \/watch: no answer from the API server: /)
      assert.isUndefined(busy.pollUnsafe())
    }).pipe(Effect.scoped))

  it.live("ends a watch on which nothing comes, by silence and not as a failure, and not one that has bookmarks", () =>
    Effect.gen(function*() {
      const { client } = yield* clientFor((request, response) => {
        response.flushHeaders()
        if (!request.url?.endsWith("busy")) return
        const timer = setInterval(() => response.write("{\"type\":\"BOOKMARK\",\"object\":{}}\n"), 20)
        response.on("close", () => clearInterval(timer))
      }, { requestMillis: 60_000, idleMillis: 200 })
      const busy = yield* Effect.forkChild(Stream.runDrain(client.watch({ ...watch, path: "/watch-busy" })))
      const silent = yield* Effect.flip(Stream.runDrain(client.watch(watch)))
      assert.strictEqual(silent._tag, "WatchSilent")
      assert.isTrue(silent._tag === "WatchSilent" && silent.millis >= 200 && silent.millis <= 250)
      yield* Effect.sleep(300)
      assert.isUndefined(busy.pollUnsafe())
      assert.deepStrictEqual((yield* client.health).refused, [])
    }).pipe(Effect.scoped))

  it.live("keeps what is refused, in the server's words, until the same is answered", () =>
    Effect.gen(function*() {
      const answer = { status: 403, words: "pods is forbidden" }
      const { client } = yield* clientFor((_, response) =>
        response.writeHead(answer.status).end(JSON.stringify({ message: answer.words }))
      )
      yield* Effect.flip(client.request(get))
      yield* Effect.flip(client.list({ ...get, verb: "list" }, () => {}))
      yield* Effect.flip(Stream.runDrain(client.watch(watch)))
      const kinds = Effect.map(client.health, ({ refused }) =>
        refused.map(({ message, resource, status, verb }) => `${verb} ${resource} ${status} ${message}`))
      assert.deepStrictEqual(yield* kinds, [
        "get pods 403 GET /pod: the API server answered 403: pods is forbidden",
        "list pods 403 GET /pod: the API server answered 403: pods is forbidden",
        "watch pods 403 GET /watch: the API server answered 403: pods is forbidden"
      ])
      // there is no such pod: that is an answer
      answer.status = 404
      yield* Effect.flip(client.request(get))
      assert.lengthOf(yield* kinds, 2)
    }).pipe(Effect.scoped))

  it.live("asks once more on a pooled connection that the server had closed", () =>
    Effect.gen(function*() {
      let asked = 0
      const { client } = yield* clientFor((request, response) => {
        // the second request comes on the first one's connection, which breaks under it
        if (++asked === 2) return request.socket.resetAndDestroy()
        return response.end("{}")
      })
      yield* client.request(get)
      // the connection returns to the pool after the answer was read
      yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
      assert.deepStrictEqual(yield* client.request(get), {})
      assert.strictEqual(asked, 3)
    }).pipe(Effect.scoped))

  it.live("gives events as they come, ends when the server ends, and breaks off a watch that nobody reads any more", () =>
    Effect.gen(function*() {
      const closed: Array<string> = []
      const { client } = yield* clientFor((request, response) => {
        response.on("close", () => closed.push(request.url ?? ""))
        const event = `{"type":"ADDED","object":{"n":"ü"}}\n`
        response.write(event.slice(0, 30))
        setImmediate(() =>
          request.url?.startsWith("/base/watch") ? response.end(event.slice(30)) : response.write(event.slice(30))
        )
      })
      const events = yield* Stream.runCollect(client.watch(watch))
      assert.deepStrictEqual([...events], [{ type: "ADDED", object: { n: "ü" } }])
      const endless = client.watch({ ...watch, path: "/endless" })
      assert.strictEqual((yield* Stream.runCollect(Stream.take(endless, 1))).length, 1)
      const reading = yield* Effect.forkChild(Stream.runDrain(endless))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(reading)
      while (!closed.includes("/base/endless")) yield* Effect.sleep(5)
    }).pipe(Effect.scoped))

  it.live("fails a watch whose events are not JSON, or that is cut in the middle, and throws nowhere", () =>
    Effect.gen(function*() {
      const { client } = yield* clientFor((request, response) => {
        if (request.url?.endsWith("/cut")) {
          response.write("{\"type\":\"ADDED\",\"object\":{}}\n")
          return setImmediate(() => request.socket.resetAndDestroy())
        }
        return response.end("not JSON\n")
      })
      const garbage = yield* Effect.flip(Stream.runDrain(client.watch(watch)))
      assert.match(garbage.message, /a watch event that is not JSON/)
      const cut = yield* Effect.flip(Stream.runDrain(client.watch({ ...watch, path: "/cut" })))
      assert.strictEqual(cut._tag === "ApiError" && cut.status, 0)
    }).pipe(Effect.scoped))
})
