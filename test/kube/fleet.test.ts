/** NodeConfigTemplates with a real API server: three nodes, each with its own token, none of which has more than rbac.yaml says. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Scope, SubscriptionRef } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { Bird } from "../../src/bird/Bird.ts"
import type { BirdStatus } from "../../src/bird/birdStatus.ts"
import { place } from "../../src/fleet/failures.ts"
import { Fleet } from "../../src/fleet/Fleet.ts"
import { KubeApi } from "../../src/kube/KubeApi.ts"
import * as NetlinkTest from "../../src/netlink/NetlinkTest.ts"
import * as lab from "./lab.ts"

const NODES = ["host001", "host002", "host003"] as const
const APPLY = "application/merge-patch+json"
const SESSION = { address: "192.0.2.1", asn: 65000, protocol: "p", state: "Established", since: "", lastError: "" }

const birdStatus = (established: number): BirdStatus => ({
  enabled: true,
  up: true,
  version: "2.0.12",
  peers: Array.from({ length: 2 }, (_, i) => ({
    ...SESSION,
    state: i < established ? "Established" : "Connect",
    ipv6: { announced: 0, learned: 0 },
    ipv4: { announced: 0, learned: 0 }
  })),
  stale: false,
  configError: "",
  reloads: 0
})

const good = (mtu: number, asn: unknown = 65001) => ({
  cidrs: "podCIDRs",
  mtu,
  bgp: { asn, peers: [{ gateway: "ipv4", asn: 65000 }] }
})

describe.runIf(available)("NodeConfigTemplates, with a real API server", () => {
  const world = new World()
  let api: ApiServer
  const scopes = new Map<string, Scope.Closeable>()
  const sessions = new Map<string, SubscriptionRef.SubscriptionRef<BirdStatus>>()

  const startNode = async (name: string): Promise<KubeApi["Service"]> => {
    const kubeconfig = join(api.dir, `${name}.kubeconfig`)
    const status = await Effect.runPromise(SubscriptionRef.make(birdStatus(2)))
    sessions.set(name, status)
    const kernel = new NetlinkTest.TestKernel()
    kernel.interfaces = [{ ifName: "eth0", ifIndex: 2, mtu: 1500, up: true, addresses: [] }]
    kernel.putRoute({
      destination: { family: 4, base: 0n, prefix: 0 },
      protocol: 3,
      nextHops: [{ ifIndex: 2, via: { family: 4, value: 0xcb007101n }, onlink: false }]
    })
    const started = Promise.withResolvers<KubeApi["Service"]>()
    const program = Effect.gen(function*() {
      const kube = yield* lab.agent(kubeconfig, { nodeName: name })
      started.resolve(kube)
      const bird = Layer.mock(Bird, {
        lastStatus: SubscriptionRef.get(status),
        statusChanges: SubscriptionRef.changes(status)
      })
      const layer = Fleet.layer({ nodeName: name, probationMillis: 8000 }).pipe(
        Layer.provide([Layer.succeed(KubeApi, kube), bird, NetlinkTest.layerTest(kernel)])
      )
      yield* Effect.gen(function*() {
        const fleet = yield* Fleet
        yield* Effect.forkScoped(fleet.run)
      }).pipe(Effect.provide(layer))
      return yield* Effect.never
    })
    const scope = await Effect.runPromise(Scope.make())
    scopes.set(name, scope)
    Effect.runFork(Effect.scoped(program).pipe(Effect.forkIn(scope), Effect.andThen(Effect.never)))
    return started.promise
  }
  const stopNode = async (name: string) => {
    const scope = scopes.get(name)
    if (scope) await Effect.runPromise(Scope.close(scope, Exit.void))
  }

  const template = async (name: string, template: object, more: object = {}) => {
    const path = `${lab.TEMPLATES}/${name}`
    const there = (await api.call("GET", path)).status === 200
    const spec = { nodeSelector: {}, rollout: { seconds: 0 }, ...more, template }
    if (there) {
      // As a whole, as `kubectl replace` does; agents write into the status meanwhile.
      await until("the edit", async () => {
        const { body } = await api.call("GET", path)
        return (await api.call("PUT", path, { ...body, spec })).status === 200
      })
    } else {
      await lab.create(api, {
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfigTemplate",
        metadata: { name },
        spec
      })
    }
  }
  const nodeConfig = async (name: string) => (await api.call("GET", `${lab.NODECONFIGS}/${name}`)).body
  const mtus = () => Promise.all(NODES.map(async (name) => (await nodeConfig(name)).spec?.mtu))
  const status = async (name: string) => (await api.call("GET", `${lab.TEMPLATES}/${name}`)).body.status ?? {}
  const become = (...expected: ReadonlyArray<number | undefined>) =>
    until(`MTUs ${expected.join(", ")}`, async () => JSON.stringify(await mtus()) === JSON.stringify(expected), 60)

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
    for (const name of NODES.slice(1)) {
      await lab.create(api, lab.node(name))
      await lab.create(api, lab.agentPod(`flock-agent-${name}`, name))
    }
    const text = readFileSync(api.kubeconfig("admin"), "utf8")
    for (const [i, name] of NODES.entries()) {
      const token = await lab.tokenOf(api, `flock-agent-${name}`)
      writeFileSync(join(api.dir, `${name}.kubeconfig`), text.replace(/token: [^\s,}]+/, `token: ${token}`))
      const podCIDRs = [`10.42.${i + 1}.0/24`, `2001:db8:${i + 1}::/64`]
      const spec = { podCIDR: podCIDRs[0], podCIDRs }
      const metadata = { labels: { rack: "a" }, annotations: { asn: String(65100 + i) } }
      assert.strictEqual((await api.call("PATCH", `/api/v1/nodes/${name}`, { metadata, spec }, APPLY)).status, 200)
    }
    for (const name of NODES) await startNode(name)
  })
  afterAll(async () => {
    for (const name of NODES) await stopNode(name)
    await world.close()
  })

  /** What `kubectl get nct` shows. */
  const shows = (nodes: number, updated: number, ready: number) =>
    until(`${nodes} nodes, ${updated} updated, ${ready} ready`, async () => {
      const { Nodes, Ready, Updated } = await lab.table(api, `${lab.TEMPLATES}/rack-a`)
      return Nodes === nodes && Updated === updated && Ready === ready
    }, 60)
  /** As the node's reporter says it. */
  const say = async (name: string, ready: "True" | "False") => {
    const condition = {
      type: "Ready",
      status: ready,
      reason: "R",
      message: "",
      lastTransitionTime: "2026-11-26T00:00:00Z"
    }
    const path = `${lab.NODECONFIGS}/${name}/status`
    assert.strictEqual((await api.call("PATCH", path, { status: { conditions: [condition] } }, APPLY)).status, 200)
  }

  it("make each node's NodeConfig, with its own values, and nobody wrote one", async () => {
    await template("rack-a", good(1500, { fromAnnotation: "asn" }), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1500, 1500, 1500)
    for (const [i, name] of NODES.entries()) {
      const { metadata, spec } = await nodeConfig(name)
      assert.deepInclude(spec, { cidr4: `10.42.${i + 1}.0/24`, cidr6: `2001:db8:${i + 1}::/64` })
      assert.strictEqual(spec.bgp.asn, 65100 + i)
      assert.strictEqual(spec.bgp.peers[0].address, "203.0.113.1")
      assert.deepStrictEqual(metadata.labels, { "flock.fritzlab.net/template": "rack-a" })
      assert.notProperty(metadata, "ownerReferences", "with one, deleting the template would delete all of them")
    }
  })

  it("count them: ready ones, followers of an edit, one that left, one that was deleted", async () => {
    await template("nobody", good(1300), { nodeSelector: { matchLabels: { rack: "z" } } })
    await shows(3, 3, 0)
    await Promise.all(NODES.map((name) => say(name, name === "host002" ? "False" : "True")))
    await shows(3, 3, 2)
    const rack = { nodeSelector: { matchLabels: { rack: "a" } } }
    const before = await status("rack-a")
    await template("rack-a", good(1510, { fromAnnotation: "asn" }), { ...rack, rollout: { seconds: 86_400 } })
    await shows(3, 0, 2)
    await template("rack-a", good(1500, { fromAnnotation: "asn" }), rack)
    await shows(3, 3, 2)
    const { counts } = await status("rack-a")
    assert.isAbove(Number(counts.resourceVersion), Number(before.counts.resourceVersion))
    assert.isAtLeast(Date.parse(counts.at), Date.parse(before.counts.at))
    // A node leaves; its agent says so, though it follows nothing any more.
    const labelled = (value: string | null) =>
      api.call("PATCH", "/api/v1/nodes/host003", { metadata: { labels: { rack: value } } }, APPLY)
    assert.strictEqual((await labelled("b")).status, 200)
    await shows(2, 2, 1)
    assert.strictEqual((await labelled("a")).status, 200)
    await shows(3, 3, 2)
    // Deleted by hand: it is written anew, and has said nothing of itself yet.
    assert.strictEqual((await api.call("DELETE", `${lab.NODECONFIGS}/host003`)).status, 200)
    await shows(3, 3, 1)
    await until("0 nodes of a template that fits none", async () => (await status("nobody")).counts?.nodes === 0, 60)
    assert.strictEqual((await api.call("DELETE", `${lab.TEMPLATES}/nobody`)).status, 200)
  })

  it("leave the counts alone where nothing changes", async () => {
    const version = async () => (await api.call("GET", `${lab.TEMPLATES}/rack-a`)).body.metadata.resourceVersion
    await until("the same for 5 s", async () => {
      const before = await version()
      await Effect.runPromise(Effect.sleep("5 seconds"))
      return await version() === before
    }, 60)
  })

  it("a bad edit is put back where it came first, halts, and the next edit goes on", async () => {
    const NEXT = (await api.call("GET", `${lab.TEMPLATES}/rack-a`)).body.metadata.generation + 1
    await template("rack-a", { ...good(1400), cidr4: "10.42.9.1/24", cidrs: undefined }, {
      nodeSelector: { matchLabels: { rack: "a" } },
      rollout: { seconds: 20 }
    })
    const { conditions, failures } = await until("a halt", async () => {
      const it = await status("rack-a")
      return it.failures !== undefined && it
    }, 60)
    const first = NODES.toSorted((a, b) => place(a, NEXT) - place(b, NEXT))[0]
    assert.deepInclude(failures[0], { node: first, generation: NEXT, reason: "Invalid" })
    assert.deepInclude(conditions[0], { type: "Halted", status: "True", reason: "Invalid", observedGeneration: NEXT })
    assert.deepStrictEqual(await mtus(), [1500, 1500, 1500])
    await template("rack-a", good(1450), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1450, 1450, 1450)
    await until("nothing is left of it but counts", async () => Object.keys(await status("rack-a")).join() === "counts")
  })

  it("sessions that do not come back put the former spec back", async () => {
    // Everybody's sessions go with this edit; only who took it goes back.
    await template("rack-a", good(9000), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(9000, 9000, 9000)
    const ref = sessions.get("host002")
    if (ref) await Effect.runPromise(SubscriptionRef.set(ref, birdStatus(1)))
    // 1450 was on trial itself: what it goes back to is what was proven before.
    await until("host002 is back", async () => (await mtus())[1] === 1500, 100)
    const { failures } = await status("rack-a")
    assert.deepStrictEqual(
      failures.map((f: { readonly node: string; readonly reason: string }) => [f.node, f.reason]),
      [
        ["host002", "SessionsLost"]
      ]
    )
    assert.deepStrictEqual(await mtus(), [9000, 1500, 9000])
    // Restarted, it does not try again.
    await stopNode("host002")
    await startNode("host002")
    await Effect.runPromise(Effect.sleep("3 seconds"))
    assert.deepStrictEqual(await mtus(), [9000, 1500, 9000])
    await template("rack-a", good(1480), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1480, 1480, 1480)
  })

  it("an edit that cuts a node off from the API server is taken back there by the node itself", async () => {
    await stopNode("host002")
    const { kubeconfig, relay } = await api.relay("admin")
    const through = readFileSync(kubeconfig, "utf8")
    const token = await lab.tokenOf(api, "flock-agent-host002")
    const own = join(api.dir, "host002.kubeconfig")
    const direct = readFileSync(own, "utf8")
    writeFileSync(own, through.replace(/token: [^\s,}]+/, `token: ${token}`))
    const kube = await startNode("host002")
    const inForce = async () =>
      Option.getOrUndefined((await Effect.runPromise(SubscriptionRef.get(kube.nodeConfig))).current)?.spec.mtu
    const rack = { nodeSelector: { matchLabels: { rack: "a" } } }
    await until("it follows", async () => await inForce() === 1480, 60)
    await until("its trial is over", async () => {
      const { annotations } = (await nodeConfig("host002")).metadata
      return annotations["flock.fritzlab.net/template-probation"] === undefined
    }, 60)
    await template("rack-a", good(9100), rack)
    await until("it has the edit", async () => await inForce() === 9100, 60)
    const ref = sessions.get("host002")
    if (ref) await Effect.runPromise(SubscriptionRef.set(ref, birdStatus(0)))
    relay.cut()
    await until("it has gone back", async () => await inForce() === 1480, 60)
    assert.strictEqual((await nodeConfig("host002")).spec.mtu, 9100, "nobody could tell the API server")
    if (ref) await Effect.runPromise(SubscriptionRef.set(ref, birdStatus(2)))
    relay.mend()
    await until("it is told", async () => (await mtus())[1] === 1480, 90)
    assert.strictEqual(await inForce(), 1480)
    assert.deepInclude((await status("rack-a")).failures[0], { node: "host002", reason: "SessionsLost" })
    await stopNode("host002")
    writeFileSync(own, direct)
    await startNode("host002")
    await template("rack-a", good(1480), rack)
    await become(1480, 1480, 1480)
  })

  it("one written by hand is never touched; without its label a NodeConfig is one", async () => {
    const path = `${lab.NODECONFIGS}/host003`
    const removal = { metadata: { labels: { "flock.fritzlab.net/template": null } } }
    assert.strictEqual((await api.call("PATCH", path, removal, APPLY)).status, 200)
    await template("rack-a", good(1490), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1490, 1490, 1480)
    await Effect.runPromise(Effect.sleep("2 seconds"))
    assert.deepStrictEqual(await mtus(), [1490, 1490, 1480])
    // Nor could it be: the API server refuses it to the agent's token.
    const token = await lab.tokenOf(api, "flock-agent-host003")
    const apply = {
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: "host003" },
      spec: {}
    }
    const type = "application/apply-patch+yaml"
    const refused = await api.call("PATCH", `${path}?fieldManager=x&force=true`, apply, type, { token })
    assert.strictEqual(refused.status, 422)
    assert.include(refused.body.message, "may write only a NodeConfig that was made from a NodeConfigTemplate")
    const theirs = { ...apply, metadata: { name: "host001" } }
    const other = await api.call("PATCH", `${lab.NODECONFIGS}/host001?fieldManager=x`, theirs, type, { token })
    assert.include(other.body.message, "may not write of host001")
    // Given back, it follows again.
    const label = { metadata: { labels: { "flock.fritzlab.net/template": "rack-a" } } }
    assert.strictEqual((await api.call("PATCH", path, label, APPLY)).status, 200)
    await become(1490, 1490, 1490)
  })

  it("a field that somebody edited by hand is theirs: said, alone, and over when it is taken back", async () => {
    const path = `${lab.NODECONFIGS}/host002`
    const edit = (mtu: number) => api.call("PATCH", `${path}?fieldManager=kubectl-edit`, { spec: { mtu } }, APPLY)
    assert.strictEqual((await edit(1440)).status, 200)
    await template("rack-a", good(1495), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1495, 1440, 1495)
    const [failure] = await until("it is said", async () => (await status("rack-a")).failures, 60)
    assert.deepInclude(failure, { node: "host002", reason: "Conflict" })
    assert.match(failure.message, /^edited by hand: spec\.mtu: conflict with "kubectl-edit"/)
    assert.notProperty(await status("rack-a"), "conditions")
    const given = await api.call("PATCH", `${path}?fieldManager=kubectl-edit`, { spec: { mtu: 1495 } }, APPLY)
    assert.strictEqual(given.status, 200)
    await until("taken back", async () => (await status("rack-a")).failures === undefined, 60)
    // The field is still kubectl-edit's too; a NodeConfig that is deleted is made anew, and is nobody else's.
    assert.strictEqual((await api.call("DELETE", path)).status, 200)
    await template("rack-a", good(1490), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1490, 1490, 1490)
  })

  it("an agent writes of the template's status its own entry only", async () => {
    const token = await lab.tokenOf(api, "flock-agent-host001")
    const write = async (path: string, failures: ReadonlyArray<string>) => {
      const entry = (node: string) => ({ node, generation: 1, reason: "Tie", message: "m" })
      const body = {
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfigTemplate",
        metadata: { name: "rack-a" },
        status: { failures: failures.map(entry) }
      }
      const query = "fieldManager=flock-agent-host001&force=true"
      return (await api.call("PATCH", `${path}?${query}`, body, "application/apply-patch+yaml", { token })).status
    }
    const path = `${lab.TEMPLATES}/rack-a`
    assert.strictEqual(await write(`${path}/status`, ["host002"]), 422)
    assert.strictEqual(await write(`${path}/status`, ["host001"]), 200)
    assert.strictEqual(await write(`${path}/status`, ["host001", "host002"]), 422)
    // rbac.yaml grants the status alone.
    assert.strictEqual(await write(path, ["host001"]), 403)
    const query = "fieldManager=flock-agent-host001&force=true"
    const say = (says: object) => {
      const head = {
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfigTemplate",
        metadata: { name: "rack-a" }
      }
      return api.call("PATCH", `${path}/status?${query}`, { ...head, status: says }, "application/apply-patch+yaml", {
        token
      })
    }
    await until("its agent takes back what is not so", async () => (await status("rack-a")).failures === undefined)
    const halted = {
      type: "Halted",
      status: "True",
      reason: "R",
      message: "m",
      lastTransitionTime: "2026-11-26T00:00:00Z"
    }
    const alone = await say({ conditions: [halted] })
    assert.strictEqual(alone.status, 422)
    assert.include(alone.body.message, "may write conditions of a NodeConfigTemplate only for a failure of its own")
    const counts = {
      nodes: 1,
      updated: 2,
      ready: 0,
      observedGeneration: 1,
      resourceVersion: "1",
      at: "2026-11-26T00:00:00Z"
    }
    const absurd = await say({ counts })
    assert.strictEqual(absurd.status, 422)
    assert.include(absurd.body.message, "updated and ready are among nodes")
    assert.strictEqual(
      (await say({ failures: [{ node: "host001", generation: 1, reason: "Tie", message: "m" }] })).status,
      200
    )
    await until("its agent takes back what is not so", async () => (await status("rack-a")).failures === undefined)
  })

  it("a template that is deleted leaves the NodeConfigs, labelled", async () => {
    await api.call("DELETE", `${lab.TEMPLATES}/rack-a`)
    await until("labelled", async () => {
      const all = await Promise.all(NODES.map(nodeConfig))
      return all.every(({ metadata }) => metadata.labels?.["flock.fritzlab.net/orphaned"] === "true")
    })
    assert.deepStrictEqual(await mtus(), [1490, 1490, 1490])
    await template("rack-a", good(1500), { nodeSelector: { matchLabels: { rack: "a" } } })
    await become(1500, 1500, 1500)
    const { metadata } = await nodeConfig("host001")
    assert.notProperty(metadata.labels, "flock.fritzlab.net/orphaned")
  })

  it("two of one priority are refused, both named", async () => {
    await template("second", good(1300))
    const { failures } = await until("three failures", async () => {
      const it = await status("second")
      return it.failures?.length === 3 && it
    }, 30)
    assert.include(failures[0].message, "rack-a and second fit this node with the same priority, 0")
    assert.strictEqual((await status("rack-a")).failures.length, 3)
    assert.notProperty(await status("rack-a"), "conditions")
    await api.call("DELETE", `${lab.TEMPLATES}/second`)
    await until("taken back", async () => (await status("rack-a")).failures === undefined)
  })
})
