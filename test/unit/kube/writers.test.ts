/** The writers against a stand-in client on a test clock: what is asked, and when. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, type Duration, Effect, Exit, Option, Redacted, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ApiError } from "../../../src/kube/access.ts"
import type { Client } from "../../../src/kube/client.ts"
import type { EventOn, NodeConfigStatus } from "../../../src/kube/KubeApi.ts"
import * as NodeCondition from "../../../src/kube/nodeCondition.ts"
import * as Status from "../../../src/kube/nodeConfigStatus.ts"
import { OpenWatches } from "../../../src/kube/openWatches.ts"
import * as Recorder from "../../../src/kube/recorder.ts"
import type { Request } from "../../../src/kube/request.ts"
import * as Secrets from "../../../src/kube/secrets.ts"

const failure = (status: number) => new ApiError({ message: `answered ${status}`, status })

/** Records requests; `answer` says what comes back. */
const recorded = (answer: (request: Request, nth: number) => unknown = () => ({})) => {
  const requests: Array<Request> = []
  const client: Client = {
    watches: new OpenWatches(),
    outage: { end: () => Effect.void },
    latency: Effect.succeed(0),
    health: Effect.succeed({ watches: [], refused: [] }),
    request: (request) =>
      Effect.suspend(() => {
        const given = answer(request, requests.push(request))
        return given instanceof ApiError ? Effect.fail(given) : Effect.succeed(given)
      }),
    // Of a Secret: its answer to a list is that of a request.
    list: (request, each) =>
      Effect.map(client.request(request), (page) => {
        const { items = [] } = page as { readonly items?: ReadonlyArray<unknown> }
        for (const item of items) each(item, () => page)
        return page
      }),
    watch: () => Stream.never
  }
  return { client, requests }
}

const status = (used: number): NodeConfigStatus => ({
  observedGeneration: 1,
  conditions: [{ type: "Ready", status: "True", reason: "R", message: "" }],
  addresses: { ipv4: { used, free: 1 } },
  peers: []
})

const object = (uid: string) => ({ metadata: { uid }, status: { conditions: [] } })

describe("the status writer", () => {
  const start = (answer?: Parameters<typeof recorded>[0]) =>
    Effect.gen(function*() {
      const { client, requests } = recorded(answer)
      const writer = yield* Status.make(client, "n")
      yield* Effect.forkChild(writer.run)
      const used = () => requests.map(({ body }) => (body as { status: NodeConfigStatus }).status.addresses.ipv4?.used)
      return { writer, used }
    })

  it.effect("writes nothing before there is a NodeConfig, then the newest at once, then the newest after 5 s", () =>
    Effect.gen(function*() {
      const { used, writer } = yield* start()
      yield* writer.set(status(1))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(used(), [])
      yield* writer.set(status(2))
      yield* writer.observe(object("u"))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(used(), [2])
      yield* writer.set(status(3))
      yield* writer.set(status(4))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(used(), [2])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(used(), [2, 4])
      yield* writer.set(status(4))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(used(), [2, 4])
    }))

  it.effect("keeps what the API server did not take, and writes anew for a new NodeConfig or a lost status", () =>
    Effect.gen(function*() {
      const { used, writer } = yield* start((_, nth) => nth === 1 ? failure(500) : {})
      yield* writer.observe(object("u"))
      yield* writer.set(status(1))
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual(used(), [1])
      yield* TestClock.adjust("16 seconds")
      assert.deepStrictEqual(used(), [1, 1])
      yield* TestClock.adjust("1 minute")
      yield* writer.observe(object("u"))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(used(), [1, 1], "its own write comes back in the watch")
      yield* writer.observe({ metadata: { uid: "u" } })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(used(), [1, 1, 1], "another tool replaced the object")
      yield* writer.observe(undefined)
      yield* writer.set(status(2))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(used(), [1, 1, 1], "there is no NodeConfig")
      yield* writer.observe(object("v"))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(used(), [1, 1, 1, 2])
    }))

  it.effect("writes anew for a NodeConfig that took another's place while that one's status was on its way", () =>
    Effect.gen(function*() {
      const answer = yield* Deferred.make<void>()
      const paths: Array<string> = []
      const client: Client = {
        watches: new OpenWatches(),
        outage: { end: () => Effect.void },
        latency: Effect.succeed(0),
        health: Effect.succeed({ watches: [], refused: [] }),
        request: ({ path }) => Effect.as(Effect.suspend(() => (paths.push(path), Deferred.await(answer))), object("u")),
        list: () => Effect.never,
        watch: () => Stream.never
      }
      const writer = yield* Status.make(client, "n")
      yield* Effect.forkChild(writer.run)
      yield* writer.observe(object("u"))
      yield* writer.set(status(1))
      yield* TestClock.adjust("1 millis")
      yield* writer.observe(object("v"))
      yield* Deferred.succeed(answer, undefined)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(paths.length, 2)
    }))

  it("moves the transition time with the status only", () => {
    const old = "2020-01-01T00:00:00Z"
    const known = (now: string) =>
      Status.transitionsOf({ status: { conditions: [{ type: "Ready", status: now, lastTransitionTime: old }] } })
    const time = (now: string) =>
      (Status.patchOf(status(0), known(now), "now") as { status: { conditions: [{ lastTransitionTime: string }] } })
        .status.conditions[0].lastTransitionTime
    assert.strictEqual(time("True"), old)
    assert.strictEqual(time("False"), "now")
  })

  it("says since when an address is in its state, kept over a restart, and leaves what is not known yet alone", () => {
    const said = (state: string, since?: string) => ({
      address: "192.0.2.1",
      state,
      ...(since === undefined ? {} : { since })
    })
    const after = (before: ReadonlyArray<object>, anycast: NodeConfigStatus["anycast"]) => {
      const known = Status.transitionsOf({ status: { anycast: before } })
      const patch = Status.patchOf({ ...status(0), ...(anycast === undefined ? {} : { anycast }) }, known, "now")
      return (patch as { readonly status: Record<string, unknown> }).status
    }
    const held = (state: string) => [{ address: "192.0.2.1", state, pods: ["shop/web"] }]
    for (
      const [before, state, since] of [
        [[], "announced", "now"],
        [[said("announced", "then")], "announced", "then"],
        [[said("announced", "then")], "withdrawn", "now"],
        // Of an agent that did not say it.
        [[said("announced")], "announced", "now"]
      ] as const
    ) {
      const { anycast, truncated } = after(before, held(state))
      assert.deepStrictEqual([anycast, truncated], [[{ ...held(state)[0], since }], null])
    }
    assert.deepInclude(after([said("announced", "then")], []), { anycast: null, truncated: null })
    assert.doesNotHaveAnyKeys(after([said("announced", "then")], undefined), ["anycast", "truncated"])
  })
})

describe("Events", () => {
  const event = (message: string): EventOn => ({ on: { kind: "Node" }, type: "Warning", reason: "R", message })

  const start = (answer?: Parameters<typeof recorded>[0]) =>
    Effect.gen(function*() {
      const { client, requests } = recorded(answer)
      const recorder = yield* Recorder.make(client, "n")
      yield* Effect.forkChild(recorder.run)
      return { recorder, requests }
    })

  it.effect("are written in a burst of 25, then one every 5 s, and never more than 512 wait", () =>
    Effect.gen(function*() {
      const { recorder, requests } = yield* start()
      yield* TestClock.adjust("1 millis")
      for (let i = 0; i < 5000; i++) yield* recorder.record(event(`${i}`))
      // the writer gives way now and then: many small steps let it finish
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("1 millis")
      assert.strictEqual(requests.length, 25)
      for (let i = 0; i < 50; i++) yield* TestClock.adjust("1 seconds")
      assert.strictEqual(requests.length, 35)
      yield* TestClock.adjust("5 hours")
      assert.isAtMost(requests.length, 25 + 512 + 1)
      assert.isAtLeast(requests.length, 512)
    }))

  it.effect("have a message of 1024 characters at most", () =>
    Effect.gen(function*() {
      const { recorder, requests } = yield* start()
      yield* recorder.record({ ...event("x"), message: "m".repeat(5000) })
      yield* TestClock.adjust("1 millis")
      const body = requests[0]?.body as { readonly message: string } | undefined
      assert.strictEqual(body?.message, "m".repeat(1024))
    }))

  it.effect.each([-1, 1])("keep to the limit when the clock is set %i hour off", (hours) =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let offset = 0
      const shifted: Clock.Clock = {
        ...clock,
        currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + offset),
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + offset
      }
      const { recorder, requests } = yield* start().pipe(Effect.provideService(Clock.Clock, shifted))
      offset = hours * 3_600_000
      for (let i = 0; i < 500; i++) yield* Effect.provideService(recorder.record(event(`${i}`)), Clock.Clock, shifted)
      for (let i = 0; i < 100; i++) yield* TestClock.adjust("1 millis")
      assert.strictEqual(requests.length, 25)
      for (let i = 0; i < 50; i++) yield* TestClock.adjust("1 seconds")
      assert.strictEqual(requests.length, 35)
    }))

  it.effect.each([`${"p".repeat(229)}-x${"y".repeat(20)}`, `${"p".repeat(229)}.x`, `${"p".repeat(228)}-.x`, "p"])(
    "have a name that the API server takes, on a Pod named %s",
    (name) =>
      Effect.gen(function*() {
        const { recorder, requests } = yield* start()
        yield* recorder.record({ ...event("x"), on: { kind: "Pod", pod: { namespace: "default", name, uid: "u" } } })
        yield* TestClock.adjust("1 millis")
        const body = requests[0]?.body as { readonly metadata: { readonly name: string } } | undefined
        assert.isAtMost(body?.metadata.name.length ?? 254, 253)
        assert.match(body?.metadata.name ?? "", /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/)
      })
  )

  it.effect("that repeat raise the count; one whose time to live is over is made anew", () =>
    Effect.gen(function*() {
      const { recorder, requests } = yield* start((request) => request.verb === "patch" ? failure(404) : {})
      yield* recorder.record(event("x"))
      yield* TestClock.adjust("1 millis")
      yield* recorder.record(event("x"))
      yield* recorder.record(event("x"))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(requests.map(({ verb }) => verb), ["create", "patch", "create"])
      assert.deepInclude(requests[2]?.body, { count: 3 })
    }))

  it.effect("wait for an API server that is away, are dropped when it refuses, and are no news after ten minutes", () =>
    Effect.gen(function*() {
      const { recorder, requests } = yield* start((_, nth) => nth < 3 ? failure(0) : nth === 3 ? {} : failure(403))
      yield* recorder.record(event("x"))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(requests.length, 3)
      yield* recorder.record(event("y"))
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(requests.length, 4)

      const away = yield* start(() => failure(0))
      yield* away.recorder.record(event("z"))
      yield* TestClock.adjust("11 minutes")
      const tried = away.requests.length
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(away.requests.length, tried)
    }))
})

describe("the node condition", () => {
  const condition = { status: "False", reason: "FlockReady", message: "" } as const

  it.effect("is asked for anew after a failure, whatever the failure left behind", () =>
    Effect.gen(function*() {
      const node = {
        status: { conditions: [{ type: "NetworkUnavailable", status: "False", lastTransitionTime: "t" }] }
      }
      const { client, requests } = recorded((_, nth) => nth === 3 ? failure(0) : node)
      const set = yield* NodeCondition.make(client, "n")
      yield* set(condition)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(set(condition))))
      yield* set(condition)
      yield* set(condition)
      assert.deepStrictEqual(requests.map(({ verb }) => verb), ["get", "patch", "patch", "get", "patch", "patch"])
    }))

  it.effect("is compared with the cache when it is said again, and written when others changed it, or every 4 to 5 minutes", () =>
    Effect.gen(function*() {
      const node = (reason: string) => ({
        metadata: { resourceVersion: "7" },
        status: { conditions: [{ type: "NetworkUnavailable", ...condition, reason, lastTransitionTime: "t" }] }
      })
      const theirs = { now: "FlockReady" }
      const { client, requests } = recorded(({ verb }) => node(verb === "get" ? theirs.now : "FlockReady"))
      const set = yield* NodeCondition.make(client, "n")
      const minute = Effect.andThen(set(condition), TestClock.adjust("1 minute"))
      for (let i = 0; i < 4; i++) yield* minute
      const asked = () =>
        requests.splice(0).map(({ query, verb }) => `${verb} ${query?.["resourceVersion"] ?? ""}`.trim())
      assert.deepStrictEqual(asked(), ["get", "patch", "get 7", "get 7", "get 7"])
      theirs.now = "CalicoIsDown"
      yield* minute
      assert.deepStrictEqual(asked(), ["get 7", "patch"])
      theirs.now = "FlockReady"
      for (let i = 0; i < 15; i++) yield* minute
      const verbs = asked()
      assert.strictEqual(verbs.filter((it) => it === "get 7").length, 15)
      assert.strictEqual(verbs.filter((it) => it === "patch").length, 3)
      yield* set({ ...condition, message: "another" })
      assert.deepStrictEqual(asked(), ["patch"], "what is new is written at once")
    }))
})

describe("Secrets", () => {
  const listed = (data: Record<string, string>) => ({
    metadata: { resourceVersion: "1" },
    items: [{ data: Object.fromEntries(Object.entries(data).map(([k, v]) => [k, Buffer.from(v).toString("base64")])) }]
  })

  const refusedWith = Effect.fnUntraced(function*(status: number, wait: Duration.Input) {
    const { client } = recorded(() => failure(status))
    const secrets = yield* Secrets.make(client, "flock-system")
    const asking = yield* Effect.forkChild(Effect.flip(secrets.get({ name: "tor", key: "password" })))
    yield* TestClock.adjust(wait)
    const error = asking.pollUnsafe()
    return error !== undefined && Exit.isSuccess(error) ? error.value.message : undefined
  }, Effect.scoped)

  it.effect("are said to be unavailable, with the reason, when the API server does not answer for 12 s", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* refusedWith(500, "11 seconds"))
      assert.strictEqual(
        yield* refusedWith(500, "13 seconds"),
        "Secret flock-system/tor cannot be read: answered 500"
      )
    }))

  it.effect("are said at once to be refused, and what grants them", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* refusedWith(403, "100 millis"),
        "Secret flock-system/tor cannot be read: answered 403; add \"tor\" to resourceNames of the Role flock-agent"
      )
    }))

  it.effect("are one list however many keys, and never show", () =>
    Effect.gen(function*() {
      const { client, requests } = recorded(() => listed({ a: "hunter2", b: "ü" }))
      const secrets = yield* Secrets.make(client, "flock-system")
      const a = yield* secrets.get({ name: "tor", key: "a" })
      const b = yield* secrets.get({ name: "tor", key: "b" })
      assert.deepStrictEqual([a, b].map((s) => Option.getOrUndefined(Option.map(s, Redacted.value))), ["hunter2", "ü"])
      assert.notInclude(`${JSON.stringify(a)} ${String(a)}`, "hunter2")
      assert.strictEqual(requests.length, 1)
      assert.deepInclude(requests[0]?.query, { fieldSelector: "metadata.name=tor" })
    }).pipe(Effect.scoped))
})
