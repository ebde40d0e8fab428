/** The watches and the pod lookup against a real API server that is cut, killed, stopped and forgetful. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Stream, SubscriptionRef } from "effect"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { podKey } from "../../src/domain/Pod.ts"
import type { PodChange } from "../../src/kube/KubeApi.ts"
import { inWords, RIGHTS } from "../../src/kube/rights.ts"
import * as lab from "./lab.ts"

const ref = (name: string, uid = "") => ({ namespace: "default", name, uid })

describe.runIf(available)("the watches, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
  })
  afterAll(() => world.close())

  const text = ({ _tag, pod }: PodChange) => `${_tag} ${pod.name}${pod.ready ? " ready" : ""}`

  /** Not the agent's own pod. */
  const isTenants = ({ pod }: PodChange) => pod.namespace === "default"

  /** The agent, and every change of tenants' pods that it tells. */
  const watching = (kubeconfig: string, options: lab.AgentOptions = {}) =>
    Effect.gen(function*() {
      const kube = yield* lab.agent(kubeconfig, { ...options, run: false })
      const changes: Array<PodChange> = []
      yield* Effect.forkScoped(
        Stream.runForEach(kube.podChanges, (c) => Effect.sync(() => isTenants(c) && changes.push(c)))
      )
      yield* Effect.yieldNow
      yield* Effect.forkScoped(kube.run)
      yield* lab.wait("synced", kube.podsListed)
      return { kube, changes, seen: (what: string) => () => changes.some((c) => text(c) === what) }
    })

  it.live("tells of this node's NodeConfig and pods only, and of their changes", () =>
    Effect.gen(function*() {
      yield* Effect.promise(async () => {
        await lab.create(api, lab.nodeConfig("host002", { cidr4: "10.42.2.0/24" }))
        await lab.create(api, lab.pod("elsewhere", {}, "host002"))
        await lab.create(api, lab.pod("before", { "flock.fritzlab.net/ipv4": "false", other: "x" }))
      })
      const { changes, kube, seen } = yield* watching(api.kubeconfig("agent"))
      assert.isTrue(Option.isNone((yield* SubscriptionRef.get(kube.nodeConfig)).current))
      yield* Effect.promise(() => lab.create(api, lab.nodeConfig()))
      const state = SubscriptionRef.get(kube.nodeConfig)
      yield* lab.wait("the NodeConfig", Effect.map(state, ({ current }) => Option.isSome(current)))
      assert.isTrue(yield* kube.synced)

      yield* Effect.promise(() => lab.create(api, lab.pod("web")))
      yield* Effect.promise(() => lab.setReady(api, "web", true))
      yield* lab.wait("ready", seen("Changed web ready"))
      yield* Effect.promise(() => lab.setReady(api, "web", false))
      yield* Effect.promise(() => lab.remove(api, "web"))
      yield* lab.wait("removed", seen("Removed web"))
      assert.deepStrictEqual(changes.filter((c) => c.pod.name !== "before").map(text), [
        "Changed web",
        "Changed web ready",
        "Changed web",
        ...changes.slice(4, -1).map(text),
        "Removed web"
      ])
      const before = (yield* kube.pods).get("default/before")
      assert.deepStrictEqual(before?.annotations, { ipv4: "false" })
      assert.deepStrictEqual([...(yield* kube.pods).values()].filter((p) => p.namespace === "default").map(podKey), [
        "default/before"
      ])

      yield* Effect.promise(() =>
        api.call(
          "PATCH",
          `${lab.NODECONFIGS}/${lab.NODE}`,
          { spec: { cidr6: "2001:db8:1::1/64" } },
          "application/merge-patch+json"
        )
      )
      yield* lab.wait("rejected", Effect.map(state, ({ rejected }) => Option.isSome(rejected)))
      const { current: kept, rejected } = yield* state
      assert.match(Option.getOrThrow(rejected).message, /not valid: spec\.cidr6: /)
      assert.strictEqual(Option.getOrThrow(kept).generation, 1)

      yield* Effect.promise(() => api.call("DELETE", `${lab.NODECONFIGS}/${lab.NODE}`))
      yield* lab.wait("gone", Effect.map(state, ({ current }) => Option.isNone(current)))
    }).pipe(Effect.scoped))

  it.live("answers a cached pod without the API, an unknown one with one GET however many ask", () =>
    Effect.gen(function*() {
      yield* Effect.promise(() => lab.create(api, lab.pod("cached")))
      const { kube } = yield* watching(api.kubeconfig("agent"))
      const gets = () => lab.requestsSeen({ verb: "get", resource: "pods" })
      const found = Option.getOrThrow(yield* kube.pod(ref("cached")))
      assert.strictEqual(gets(), 0)
      assert.deepStrictEqual(yield* kube.pod(ref("cached", found.uid)), Option.some(found))
      assert.strictEqual(gets(), 0)

      const answers = yield* Effect.all(Array.from({ length: 20 }, () => kube.pod(ref("elsewhere"))), {
        concurrency: "unbounded"
      })
      assert.strictEqual(gets(), 1)
      assert.isTrue(answers.every((a) => Option.isSome(a) && a.value.name === "elsewhere"))
      assert.isTrue(Option.isNone(yield* kube.pod(ref("no-such-pod"))))
      assert.isTrue(Option.isNone(yield* kube.pod(ref("cached", "another-uid"))), "the pod of that UID is gone")
      assert.strictEqual(gets(), 3)
    }).pipe(Effect.scoped))

  it.live("loses no transition across a cut connection", () =>
    Effect.gen(function*() {
      const { kubeconfig, relay } = yield* Effect.promise(() => api.relay())
      yield* Effect.promise(async () => {
        for (const name of ["stays", "goes", "turns"]) await lab.create(api, lab.pod(name))
      })
      const { kube, changes, seen } = yield* watching(kubeconfig)
      changes.length = 0
      relay.cut()
      yield* Effect.promise(async () => {
        await lab.remove(api, "goes")
        await lab.setReady(api, "turns", true)
        await lab.create(api, lab.pod("comes"))
        await lab.remove(api, "stays")
        await lab.create(api, lab.pod("stays"))
      })
      relay.mend()
      yield* lab.wait("all of it", () =>
        ["Removed goes", "Changed turns ready", "Changed comes", "Removed stays"].every((w) => seen(w)()))
      yield* lab.wait("the new one", () =>
        seen("Changed stays")())
      assert.isFalse((yield* kube.pods).has("default/goes"))
    }).pipe(Effect.scoped))

  it.live("lists again when the server has forgotten its version (410), after kill -9 and restart", () =>
    Effect.gen(function*() {
      const { kubeconfig, relay } = yield* Effect.promise(() => api.relay())
      yield* Effect.promise(() => lab.create(api, lab.pod("killed")))
      const { kube, seen } = yield* watching(kubeconfig)
      const lists = lab.requestsSeen({ verb: "list", resource: "pods", code: "200" })
      relay.cut()
      yield* Effect.promise(async () => {
        await lab.remove(api, "killed")
        await lab.create(api, lab.pod("born"))
        api.signal("SIGKILL")
        api.restart()
        await until(
          "served again",
          async () =>
            (await api.call("GET", "/api/v1/namespaces/default/pods").catch(() => ({ status: 0 }))).status === 200
        )
      })
      relay.mend()
      yield* lab.wait("what happened meanwhile", () => seen("Removed killed")() && seen("Changed born")())
      assert.isAbove(lab.requestsSeen({ verb: "list", resource: "pods", code: "200" }), lists)
      assert.isTrue((yield* kube.pods).has("default/born"))
      yield* Effect.promise(() => lab.setReady(api, "born", true))
      yield* lab.wait("the watch goes on", seen("Changed born ready"))
    }).pipe(Effect.scoped))

  it.live("notices a network that swallows everything, and one request that hangs renews silent watches", () =>
    Effect.gen(function*() {
      const { kubeconfig, relay } = yield* Effect.promise(() => api.relay())
      yield* Effect.promise(() => lab.create(api, lab.pod("silent")))
      const { kube, seen } = yield* watching(kubeconfig, { timing: { requestMillis: 500, idleMillis: 600_000 } })
      relay.mute()
      yield* Effect.promise(() => lab.setReady(api, "silent", true))
      yield* Effect.sleep(600)
      const error = yield* Effect.flip(kube.pod(ref("unknown")))
      assert.match(
        error.message,
        /^Pod default\/unknown is not in the agent's cache, and asking failed: GET .* within 500 ms/
      )
      relay.cut()
      relay.mend()
      yield* lab.wait("ready", seen("Changed silent ready"))
    }).pipe(Effect.scoped))

  it.live("hears of an unready pod though its watch is dead and open, while other connections are well", () =>
    Effect.gen(function*() {
      const { kubeconfig, relay } = yield* Effect.promise(() => api.relay())
      yield* Effect.promise(() => lab.create(api, lab.pod("unheard")))
      const { changes, kube, seen } = yield* watching(kubeconfig, {
        timing: { requestMillis: 10_000, idleMillis: 2000 }
      })
      const lists = lab.requestsSeen({ verb: "list", resource: "pods" })
      yield* Effect.sleep(200)
      const since = performance.now()
      yield* Effect.promise(() => lab.setReady(api, "unheard", true))
      yield* lab.wait("ready, by the watch", seen("Changed unheard ready"))
      relay.muteThoseHeardSince(since)
      changes.length = 0
      yield* Effect.promise(() => lab.setReady(api, "unheard", false))
      yield* Effect.sleep(1000)
      const silent = Option.fromUndefinedOr(yield* kube.api)
      const pods = Option.map(silent, ({ watches }) => watches.find(({ resource }) => resource === "pods"))
      assert.isAtLeast(Option.getOrUndefined(pods)?.silentSeconds ?? 0, 1)
      assert.isTrue((yield* kube.pods).get("default/unheard")?.ready, "nothing came")
      assert.isTrue(Option.isNone(yield* kube.pod(ref("no-such-pod"))), "a request on a connection that is well")
      yield* lab.wait("unready", seen("Changed unheard"))
      assert.strictEqual(lab.requestsSeen({ verb: "list", resource: "pods" }), lists, "resumed, not listed again")
      assert.deepStrictEqual((yield* kube.api)?.refused, [])
    }).pipe(Effect.scoped))

  it.live("says what the API server refuses, and its words, until it is granted again", () =>
    Effect.gen(function*() {
      const { kube } = yield* watching(api.kubeconfig("agent"), { timing: { requestMillis: 10_000, idleMillis: 300 } })
      const path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
      const binding = lab.documents("rbac.yaml").find(({ kind }) => kind === "ClusterRoleBinding")
      yield* Effect.promise(() => api.call("DELETE", `${path}/${binding.metadata.name}`))
      const words = Effect.map(kube.api, (health) =>
        (health?.refused ?? []).map(({ message, resource, status, verb }) =>
          `${verb} ${resource} ${status} ${message}`
        ))
      const refused = yield* lab.wait(
        "pods are refused",
        Effect.map(words, (all) => all.find((text) => /^(watch|list) pods 403 /.test(text)))
      )
      assert.match(refused, /GET \/api\/v1\/pods: the API server answered 403: pods is forbidden: User /)
      assert.deepStrictEqual(yield* kube.missingRights([]), RIGHTS.map(inWords))
      yield* Effect.promise(() => lab.create(api, binding))
      yield* lab.wait(
        "every right is back",
        Effect.map(Effect.orDie(kube.missingRights(["tor"])), (all) => all.length === 0)
      )
      assert.deepStrictEqual(yield* kube.missingRights(["tor", "other"]), [
        "list secrets flock-system/other",
        "watch secrets flock-system/other"
      ])
      yield* lab.wait("nothing is refused", Effect.map(words, (all) => all.length === 0))
    }).pipe(Effect.scoped))

  it.live("tells that there are NetworkPolicies, and how far the clocks are apart", () =>
    Effect.gen(function*() {
      for (const name of ["deny", "allow"]) {
        yield* Effect.promise(() =>
          lab.create(api, {
            apiVersion: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            metadata: { name, namespace: "default" },
            spec: { podSelector: {} }
          })
        )
      }
      const { kube } = yield* watching(api.kubeconfig("agent"))
      const policies = yield* lab.wait("the policies", Effect.map(kube.api, (health) => health?.policies))
      assert.deepStrictEqual(policies, { example: "default/allow", count: 2 })
      const ahead = (yield* kube.api)?.clockAheadSeconds
      assert.isTrue(ahead !== undefined && Math.abs(ahead) <= 5, `${ahead} s`)
    }).pipe(Effect.scoped))

  it.live("notices a stopped API server (SIGSTOP) by silence and goes on when it does", () =>
    Effect.gen(function*() {
      yield* Effect.promise(() => lab.create(api, lab.pod("stopped")))
      const { kube, seen } = yield* watching(api.kubeconfig("agent"), {
        timing: { requestMillis: 300, idleMillis: 1000 }
      })
      const dead = () => lab.requestsSeen({ verb: "watch", resource: "pods", code: "0" })
      const before = dead()
      api.signal("SIGSTOP")
      yield* lab.wait("a watch given up and refused", () => dead() > before)
      assert.isTrue(Option.isSome(yield* kube.pod(ref("stopped"))), "a cached pod needs no API server")
      api.signal("SIGCONT")
      yield* Effect.promise(() => lab.setReady(api, "stopped", true))
      yield* lab.wait("ready", seen("Changed stopped ready"))
    }).pipe(Effect.scoped))
})
