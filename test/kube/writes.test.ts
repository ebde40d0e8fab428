/** What flock writes to a real API server, read back by another client. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Redacted, Stream, SubscriptionRef } from "effect"
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { World } from "../../lab/World.ts"
import type { NodeConfigStatus } from "../../src/kube/KubeApi.ts"
import * as lab from "./lab.ts"

const SMP = "application/strategic-merge-patch+json"

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly lastTransitionTime: string
  readonly lastHeartbeatTime: string
}

const status = (used: number, ready: "True" | "False" = "True"): NodeConfigStatus => ({
  observedGeneration: 1,
  conditions: [{ type: "Ready", status: ready, reason: "Serving", message: "all is well" }],
  addresses: { ipv6: { used, free: 2 ** 64 }, ipv4: { used, free: 250 } },
  sessions: "1/2",
  peers: [{
    address: "2001:db8:ffff::1",
    asn: 65000,
    state: "Established",
    lastNotification: { direction: "received", message: "Cease", at: "2026-01-01T00:00:00Z" },
    unusable: { count: 1, reason: "no way", examples: ["2001:db8:e::/48"] }
  }]
})

describe.runIf(available)("what flock writes, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
    await lab.create(api, lab.nodeConfig())
  })
  afterAll(() => world.close())

  const conditions = async (): Promise<ReadonlyArray<Condition>> =>
    (await api.call("GET", `/api/v1/nodes/${lab.NODE}`)).body.status.conditions ?? []

  const unavailable = async () => (await conditions()).find((c) => c.type === "NetworkUnavailable")

  const write = (condition: object) =>
    api.call("PATCH", `/api/v1/nodes/${lab.NODE}/status`, { status: { conditions: [condition] } }, SMP)

  const good = { status: "False", reason: "FlockReady", message: "pods can be added" } as const

  it.live("sets NetworkUnavailable; its transition time moves with the status only, another writer's flip included", () =>
    Effect.gen(function*() {
      const old = "2020-01-01T00:00:00Z"
      const calico = {
        type: "NetworkUnavailable",
        status: "True",
        reason: "CalicoIsDown",
        message: "",
        lastTransitionTime: old
      }
      yield* Effect.promise(() => write(calico))
      const kube = yield* lab.agent(api.kubeconfig("agent"), { run: false })
      yield* kube.setNodeCondition(good)
      const first = yield* Effect.promise(unavailable)
      assert.deepInclude(first, { status: "False", reason: "FlockReady" })
      assert.notStrictEqual(first?.lastTransitionTime, old)

      const mark = { type: "NetworkUnavailable", lastTransitionTime: old }
      yield* Effect.promise(() => write(mark))
      const restarted = yield* lab.agent(api.kubeconfig("agent"), { run: false })
      yield* restarted.setNodeCondition({ ...good, message: "still" })
      assert.deepInclude(yield* Effect.promise(unavailable), { status: "False", lastTransitionTime: old })

      const patches = () => lab.requestsSeen({ verb: "patch", resource: "nodes/status", code: "200" })
      const gets = lab.requestsSeen({ verb: "get", resource: "nodes" })
      yield* restarted.setNodeCondition(good)
      const before = patches()
      const { resourceVersion } = (yield* Effect.promise(() =>
        api.call("GET", `/api/v1/nodes/${lab.NODE}`)
      )).body.metadata
      for (const _ of [1, 2, 3]) yield* restarted.setNodeCondition(good)
      assert.strictEqual(patches(), before, "the steady state is no write")
      assert.strictEqual(lab.requestsSeen({ verb: "get", resource: "nodes" }), gets + 3, "and one read from the cache")
      const node = yield* Effect.promise(() => api.call("GET", `/api/v1/nodes/${lab.NODE}`))
      assert.strictEqual(node.body.metadata.resourceVersion, resourceVersion)

      yield* Effect.promise(() => write({ ...calico, lastTransitionTime: "2021-01-01T00:00:00Z" }))
      yield* restarted.setNodeCondition(good)
      const healed = yield* Effect.promise(unavailable)
      assert.isDefined(healed)
      if (healed === undefined) return
      assert.strictEqual(healed.status, "False")
      assert.isAbove(Date.parse(healed.lastTransitionTime), Date.parse("2021-01-02T00:00:00Z"))
    }).pipe(Effect.scoped))

  it.live("leaves conditions alone that another writer patches at the same time", () =>
    Effect.gen(function*() {
      const kube = yield* lab.agent(api.kubeconfig("agent"), { run: false })
      const types = ["Ready", "MemoryPressure", "DiskPressure", "Custom"]
      yield* Effect.all([
        Effect.forEach(Array.from({ length: 25 }), (_, i) => kube.setNodeCondition({ ...good, message: `${i}` })),
        Effect.forEach(types, (type) =>
          Effect.promise(async () => {
            for (let i = 0; i <= 10; i++) {
              const { status } = await write({ type, status: "True", reason: `R${i}`, message: "" })
              assert.strictEqual(status, 200)
            }
          }), { concurrency: "unbounded" })
      ], { concurrency: "unbounded" })
      const all = yield* Effect.promise(conditions)
      assert.deepStrictEqual(
        types.map((type) => all.find((c) => c.type === type)?.reason),
        types.map(() => "R10")
      )
      assert.strictEqual((yield* Effect.promise(unavailable))?.status, "False")
    }).pipe(Effect.scoped))

  it.live("says why when the Node or the right to patch it is missing", () =>
    Effect.gen(function*() {
      const kube = yield* lab.agent(api.kubeconfig("nobody"), { run: false })
      const error = yield* Effect.flip(kube.setNodeCondition(good))
      assert.match(error.message, /^GET \/api\/v1\/nodes\/host001: the API server answered 403: .*nobody/)
    }).pipe(Effect.scoped))

  it.live("writes the NodeConfig's status on change only, at once and then at most every 5 s, the newest at last", () =>
    Effect.gen(function*() {
      const written = () => lab.requestsSeen({ verb: "patch", resource: "nodeconfigs/status", code: "200" })
      const read = async () => (await api.call("GET", `${lab.NODECONFIGS}/${lab.NODE}`)).body
      const kube = yield* lab.agent(api.kubeconfig("agent"))
      for (let i = 0; i <= 5; i++) yield* kube.setStatus(status(i))
      yield* lab.wait("the first", () => written() >= 1)
      for (let i = 6; i <= 200; i++) yield* kube.setStatus(status(i))
      yield* lab.wait("the newest", async () => (await read()).status.addresses.ipv4.used === 200)
      // The object is there before its writer has heard so.
      yield* lab.wait("the second answer", () => written() >= 2)
      assert.strictEqual(written(), 2)
      yield* kube.setStatus(status(200))
      const object = yield* Effect.promise(read)
      assert.strictEqual(object.metadata.generation, 1, "a status write is no new generation")
      assert.deepStrictEqual(object.status.addresses, {
        ipv6: { used: 200, free: Number.MAX_SAFE_INTEGER },
        ipv4: { used: 200, free: 250 }
      })
      assert.deepStrictEqual(object.status.peers, status(200).peers, "nothing of it is pruned")
      const [{ lastTransitionTime, ...condition }] = object.status.conditions
      assert.deepStrictEqual(condition, {
        type: "Ready",
        status: "True",
        reason: "Serving",
        message: "all is well",
        observedGeneration: 1
      })

      const table = yield* Effect.promise(() => lab.table(api, `${lab.NODECONFIGS}/${lab.NODE}`))
      assert.deepStrictEqual(table, {
        Name: "host001",
        Ready: "True",
        Reason: "Serving",
        Sessions: "1/2",
        CIDR6: "2001:db8:1::/64",
        CIDR4: "10.42.1.0/24",
        Free4: 250
      })

      // another agent process: one write, and no transition; a family that went is taken away
      const again = yield* lab.agent(api.kubeconfig("agent"))
      yield* lab.wait("its NodeConfig", again.synced)
      const { ipv4 } = status(7).addresses
      yield* again.setStatus({ ...status(7), addresses: ipv4 === undefined ? {} : { ipv4 } })
      yield* lab.wait("the other's", async () => (await read()).status.addresses.ipv4.used === 7)
      const after = yield* Effect.promise(read)
      assert.strictEqual(after.status.conditions[0].lastTransitionTime, lastTransitionTime)
      assert.isUndefined(after.status.addresses.ipv6)
      yield* lab.wait("the third answer", () => written() >= 3)
      assert.strictEqual(written(), 3)
    }).pipe(Effect.scoped))

  it.live("counts repeated Events on a Pod and the Node together, where kubectl describe finds them", () =>
    Effect.gen(function*() {
      yield* Effect.promise(() => lab.create(api, lab.pod("told")))
      const kube = yield* lab.agent(api.kubeconfig("agent"))
      const on = { kind: "Pod", pod: { namespace: "default", name: "told", uid: "some-uid" } } as const
      for (let i = 0; i < 10; i++) {
        yield* kube.event({ on, type: "Warning", reason: "AnycastRefused", message: "192.0.2.1: not allowed" })
      }
      yield* kube.event({ on, type: "Warning", reason: "AnycastRefused", message: "192.0.2.2: not allowed" })
      yield* kube.event({ on: { kind: "Node" }, type: "Normal", reason: "Hello", message: "x".repeat(5000) })
      const events = async (): Promise<ReadonlyArray<Record<string, unknown>>> =>
        (await api.call("GET", "/api/v1/namespaces/default/events?fieldSelector=source=flock-agent")).body.items
      yield* lab.wait("three Events", async () => (await events()).length === 3)
      yield* kube.event({ on, type: "Warning", reason: "AnycastRefused", message: "192.0.2.1: not allowed" })
      yield* lab.wait("the count", async () => (await events()).some((e) => e["count"] === 11))
      const all = yield* Effect.promise(events)
      assert.strictEqual(all.length, 3)
      const hello = all.find((e) => e["reason"] === "Hello")
      assert.deepInclude(hello?.["involvedObject"], { kind: "Node", name: lab.NODE, uid: lab.NODE })
      assert.strictEqual(String(hello?.["message"]).length, 1024)
      const refused = all.find((e) => e["count"] === 11)
      assert.deepInclude(refused?.["involvedObject"], {
        kind: "Pod",
        namespace: "default",
        name: "told",
        uid: "some-uid"
      })
    }).pipe(Effect.scoped))

  it.live("reads a Secret once, hears of its changes, and tells nobody what is in it", () =>
    Effect.gen(function*() {
      const secret = (password: string) => ({
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "tor", namespace: lab.NAMESPACE },
        stringData: { password, other: "x" }
      })
      yield* Effect.promise(() => lab.create(api, secret("first-pw")))
      const kube = yield* lab.agent(api.kubeconfig("agent"))
      const changed: Array<unknown> = []
      yield* Effect.forkScoped(Stream.runForEach(kube.secretChanges, (ref) => Effect.sync(() => changed.push(ref))))
      const password = { name: "tor", key: "password" }
      const value = Effect.map(kube.secret(password), Option.map(Redacted.value))
      assert.deepStrictEqual(yield* value, Option.some("first-pw"))
      const lists = lab.requestsSeen({ verb: "list", resource: "secrets" })
      assert.isTrue(Option.isNone(yield* kube.secret({ name: "tor", key: "no-such-key" })))
      assert.strictEqual(lab.requestsSeen({ verb: "list", resource: "secrets" }), lists, "from the cache")
      const began = performance.now()
      const refused = yield* Effect.flip(kube.secret({ name: "not-granted", key: "password" }))
      assert.match(
        refused.message,
        /flock-system\/not-granted cannot be read: .*403.*add "not-granted" to resourceNames/
      )
      assert.isBelow(performance.now() - began, 6000, "it is not waited for what is refused")
      assert.notInclude(JSON.stringify(yield* kube.secret(password)), "first-pw")

      yield* Effect.promise(() =>
        api.call("PUT", `/api/v1/namespaces/${lab.NAMESPACE}/secrets/tor`, secret("second-pw"))
      )
      yield* lab.wait("the change", () => changed.length === 1)
      assert.deepStrictEqual(changed, [password])
      assert.deepStrictEqual(yield* value, Option.some("second-pw"))
      yield* Effect.promise(() => api.call("DELETE", `/api/v1/namespaces/${lab.NAMESPACE}/secrets/tor`))
      yield* lab.wait("its end", () => changed.length === 2)
      assert.isTrue(Option.isNone(yield* value))
    }).pipe(Effect.scoped))

  it.live("keeps the last good NodeConfig for a start without an API server, and says why a pod cannot be looked up", () =>
    Effect.gen(function*() {
      const stateDir = mkdtempSync(join(tmpdir(), `flock-kube-state-${process.pid}-`))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(stateDir, { recursive: true, force: true })))
      const copy = join(stateDir, "nodeconfig.json")
      const { kubeconfig, relay } = yield* Effect.promise(() => api.relay())
      yield* Effect.scoped(Effect.gen(function*() {
        yield* lab.agent(kubeconfig, { stateDir })
        yield* lab.wait("the copy", () => {
          try {
            return statSync(copy).size > 0
          } catch {
            return false
          }
        })
      }))
      assert.strictEqual(statSync(copy).mode & 0o777, 0o600)
      assert.notInclude(readFileSync(copy, "utf8"), "status")

      relay.cut()
      const kube = yield* lab.agent(kubeconfig, { stateDir })
      const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
      assert.strictEqual(Option.getOrThrow(current).name, lab.NODE)
      assert.isTrue(yield* kube.synced)
      assert.isFalse(yield* kube.podsListed)
      const error = yield* Effect.flip(kube.pod({ namespace: "default", name: "told", uid: "" }))
      assert.match(error.message, /^Pod default\/told is not in the agent's cache, and asking failed: .*no answer/)
      relay.mend()
      yield* lab.wait("the lists", kube.podsListed)
      assert.isTrue(yield* kube.synced)

      writeFileSync(copy, "{ half a fi")
      const broken = yield* lab.agent(kubeconfig, { stateDir, run: false })
      assert.isTrue(Option.isNone((yield* SubscriptionRef.get(broken.nodeConfig)).current))
      assert.isFalse(yield* broken.synced)
    }).pipe(Effect.scoped))
})
