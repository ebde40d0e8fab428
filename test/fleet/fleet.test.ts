/**
 * One NodeConfigTemplate for three nodes of a whole cluster, and `kubectl flock` as an operator uses it, under pings and HTTP all
 * along. `npm run test:fleet`; FLOCK_CLUSTER as `node test/fleet/up.ts` prints it spares bringing one up.
 */
import { assert, describe, it } from "@effect/vitest"
import { resolve } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { Cluster, clusterAvailable, type KubeObject } from "../../lab/Cluster.ts"
import { exec, ip, type Outcome } from "../../lab/exec.ts"
import { ASN, bringUpFleet, label, places, RACK, TEMPLATE, template } from "../../lab/fleetSite.ts"
import { agentPod, ANYCAST, established, NODE_ASN, numbers } from "../../lab/site.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { addressesOf, fetchFrom, fetchIn, readyPods, removeAll, workload } from "../cluster/fixture.ts"
import { type Losses, lossesDuring } from "../cluster/losses.ts"

const SHARED = ["2001:db8:a::2", "198.18.53.2"] as const
/** A node is on trial for so long, and then some. */
const TRIAL_SECONDS = 90
const MORE = { anycast: { allowedCIDRs: [ANYCAST.six, ANYCAST.four, "2001:db8:b::/64"] } }

const ground = async (): Promise<readonly [Cluster, World, () => Promise<void>]> => {
  const up = process.env["FLOCK_CLUSTER"]
  if (up === undefined) return bringUpFleet()
  const world = new World()
  return [new Cluster(JSON.parse(up)), world, () => world.close()]
}

describe.runIf(clusterAvailable)("three nodes that follow one template", () => {
  let cluster: Cluster
  let world: World
  let close: () => Promise<void> = async () => undefined
  let client: string
  let nodes: ReadonlyArray<number>
  /** Node i's pod, and its addresses. */
  const pods = new Map<number, string>()
  const addresses = new Map<number, ReadonlyArray<string>>()
  const of = (...which: ReadonlyArray<number>) => which.flatMap((i) => addresses.get(i) ?? [])

  const flock = async (...args: ReadonlyArray<string>): Promise<Outcome> => {
    const env = { ...process.env, PATH: `${cluster.kubectlFolder()}:${process.env["PATH"]}` }
    const outcome = await exec(process.execPath, [resolve("dist/kubectl-flock"), ...args], { env })
    console.log(`$ kubectl flock ${args.join(" ")}\n${outcome.stdout}${outcome.stderr}(exit code ${outcome.code})`)
    return outcome
  }
  const said = async (...args: ReadonlyArray<string>): Promise<string> => {
    const { code, stderr, stdout } = await flock(...args)
    assert.strictEqual(code, 0, stderr)
    return stdout
  }
  const rows = async (): Promise<ReadonlyArray<KubeObject>> => JSON.parse(await said("status", "--json"))

  const theTemplate = () => cluster.get("nct", TEMPLATE)
  const nodeConfigs = async (): Promise<ReadonlyArray<KubeObject>> => (await cluster.get("nodeconfigs")).items
  const nodeConfigOf = (i: number) => cluster.get("nodeconfig", `node${i}`)
  const condition = ({ status }: KubeObject) =>
    status?.conditions?.find(({ type }: { readonly type: string }) => type === "FollowsTemplate")?.reason
  const counted = (
    wanted: { readonly nodes: number; readonly updated: number; readonly ready: number },
    seconds = 30
  ) =>
    until(`kubectl get nct: ${JSON.stringify(wanted)}`, async () => {
      const { metadata, status: { counts } } = await theTemplate()
      return counts.observedGeneration === metadata.generation &&
        counts.nodes === wanted.nodes && counts.updated === wanted.updated && counts.ready === wanted.ready
    }, seconds)
  /** Every node's trial is over. */
  const proven = () =>
    until(
      "no node is on trial",
      async () => (await nodeConfigs()).every((it) => condition(it) === "Following"),
      TRIAL_SECONDS
    )
  const tables = async () => {
    console.log(await cluster.kubectl("get", "nct", "-o", "wide"))
    console.log(await cluster.kubectl("get", "nodeconfigs"))
  }

  const during = async (which: ReadonlyArray<string>, task: () => Promise<unknown>): Promise<Losses> => {
    const losses = await lossesDuring(world, client, which, task)
    console.log(`${losses.pings} pings, ${losses.fetches} requests, lost: ${losses.lost.join("; ") || "none"}`)
    assert.isAbove(losses.pings, 100)
    assert.isAbove(losses.fetches, 100)
    return losses
  }
  /**
   * Of shared addresses nothing may be lost but connections that were open when the router chose another node for them, whose pod does
   * not know them.
   */
  const losingOnlyMoved = async (which: ReadonlyArray<string>, task: () => Promise<unknown>): Promise<void> => {
    const { lost } = await during([...which, ...SHARED], task)
    const moved = lost.filter((it) => it.endsWith("ECONNRESET") && SHARED.some((address) => it.includes(address)))
    assert.deepStrictEqual(lost.filter((it) => !moved.includes(it)), [])
    assert.isAtMost(moved.length, 2 * SHARED.length)
  }
  const lossless = async (which: ReadonlyArray<string>, task: () => Promise<unknown>): Promise<void> =>
    assert.deepStrictEqual((await during(which, task)).lost, [])

  beforeAll(async () => {
    ;[cluster, world, close] = await ground()
    client = cluster.netns("client")
    nodes = numbers(cluster)
    const annotations = { "flock.fritzlab.net/anycast": SHARED.join(",") }
    const container = { readinessProbe: { httpGet: { port: 80, path: "/" }, periodSeconds: 1, timeoutSeconds: 10 } }
    await cluster.apply(workload("DaemonSet", "web", {}, { annotations, container }))
    for (const pod of await readyPods(cluster, "web", nodes.length)) {
      const i = Number(pod.spec.nodeName.replace("node", ""))
      pods.set(i, pod.metadata.name)
      addresses.set(i, addressesOf(pod))
    }
    for (const address of [...of(...nodes), ...SHARED]) {
      await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false), 30)
    }
  }, 600_000)
  afterAll(async () => {
    if (process.env["FLOCK_CLUSTER"] !== undefined) await removeAll(cluster)
    await close()
  })

  it("have NodeConfigs that nobody wrote, with the prefixes of kube-controller-manager", async () => {
    for (const i of nodes) {
      const [{ metadata, spec }, node] = await Promise.all([nodeConfigOf(i), cluster.get("node", `node${i}`)])
      assert.deepStrictEqual([spec.cidr4, spec.cidr6].toSorted(), node.spec.podCIDRs.toSorted())
      assert.deepInclude(metadata.labels, { "flock.fritzlab.net/template": TEMPLATE })
      assert.notProperty(metadata, "ownerReferences")
      assert.strictEqual(spec.bgp.asn, NODE_ASN)
    }
    await counted({ nodes: 3, updated: 3, ready: 3 })
    await tables()
  })

  it("have pods that talk to each other", async () => {
    for (const [from, name] of pods) {
      for (const [to, answers] of pods) {
        if (from === to) continue
        for (const address of of(to)) assert.strictEqual(await fetchIn(cluster, name, address), answers)
      }
    }
  })

  it("take a good edit, without losing a packet", async () => {
    await lossless([...of(...nodes), ...SHARED], async () => {
      await cluster.apply(template({ seconds: 6, more: MORE }))
      await counted({ nodes: 3, updated: 3, ready: 3 })
      await sleep(2000)
    })
    for (const { spec } of await nodeConfigs()) assert.include(spec.anycast.allowedCIDRs, "2001:db8:b::/64")
  })

  it("are seen by kubectl flock: status, anycast, why, doctor", async () => {
    assert.match(await said("status"), /^node1 +True +FlockReady +2\/2 .* rack-a \(on trial\) /m)
    const anycast = await said("anycast")
    for (const address of SHARED) {
      assert.match(anycast, new RegExp(`^${address.replaceAll(".", "\\.")} +3/3 +node1 +announced +\\d`, "m"))
    }
    assert.strictEqual(await said("why", SHARED[0]), `${SHARED[0]} is announced by node1, node2, node3.\n`)
    const nobody = await flock("why", "2001:db8:a::77")
    assert.deepStrictEqual([nobody.code, nobody.stdout], [
      1,
      "2001:db8:a::77 is in no node's prefixes, and no pod has it.\n"
    ])
    const doctor = await flock("doctor")
    assert.strictEqual(doctor.code, 0, doctor.stdout)
  })

  it("keep since when an address is announced over a restart of the agent", async () => {
    const since = async () =>
      (await nodeConfigOf(1)).status.anycast.map(({ address, since, state }: KubeObject) => [address, state, since])
    const restarts = async (): Promise<number> => {
      const { status } = await cluster.get("-n", "flock-system", "pod", await agentPod(cluster, 1))
      const agent = status.containerStatuses.find((it: KubeObject) => it.name === "agent")
      return agent.ready ? agent.restartCount : -1
    }
    const before = await since()
    assert.deepStrictEqual(before.map(([address, state]: ReadonlyArray<string>) => [address, state]), [
      [SHARED[1], "announced"],
      [SHARED[0], "announced"]
    ])
    await lossless([...of(...nodes), ...SHARED], async () => {
      await cluster.kill(1, "flock-agent run")
      await until("the agent is back", async () => await restarts() === 1, 60)
      // Its first look at the addresses, and the status after it.
      await sleep(10_000)
      assert.deepStrictEqual(await since(), before)
    })
  })

  it("are drained and restored one by one: routers go elsewhere, and lose connections that have to move at most", async () => {
    const routes = () => ip(cluster.netns("tor"), "-6", "route", "show", SHARED[0])
    await losingOnlyMoved(of(1, 3), async () => {
      const drained = await said("drain", "node2", "--cordon")
      assert.match(drained, /node2: no traffic to its pods any more\n$/)
      assert.notMatch(await routes(), /dev dn2/)
      assert.isTrue((await cluster.get("node", "node2")).spec.unschedulable)
      await until("it is said", async () => (await rows())[1].reason === "FlockWithdrawn", 30)
      assert.match(await said("anycast"), /node2 +installed/)
      assert.match(await said("why", SHARED[0]), /announced by node1, node3\.\n\n {2}node2: .*withdraw/)
      assert.match(await said("restore", "node2"), /node2: 2 of 2 sessions Established\nnode\/node2 uncordoned\n$/)
    })
    await until("the router's way to node2", async () => /dev dn2/.test(await routes()), 30)
    assert.notProperty((await cluster.get("node", "node2")).spec, "unschedulable")
  })

  it("halt at the first node that an edit cuts off, which goes back, and leave the others alone", async () => {
    await proven()
    const { metadata } = await theTemplate()
    const [[first, at], [, next]] = places(cluster, metadata.generation + 1) as [[number, number], [number, number]]
    // The second one's turn comes after the first has failed.
    const seconds = Math.ceil(TRIAL_SECONDS / (next - at))
    console.log(`node${first} takes it first, after ${(at * seconds).toFixed(0)} s of ${seconds}`)
    const others = nodes.filter((i) => i !== first)
    const before = await nodeConfigs()
    await losingOnlyMoved(of(...others), async () => {
      const { lost } = await during(of(first), async () => {
        await cluster.apply(template({ seconds, peerAsn: 65_009, more: MORE }))
        await until(
          "a halt",
          async () => (await theTemplate()).status.failures !== undefined,
          at * seconds + TRIAL_SECONDS
        )
        await established(cluster, first)
        await until("its pod answers", () => fetchFrom(client, of(first)[0] ?? "").catch(() => false), 30)
      })
      console.log(`the first node's own pods: ${lost.length} of both families lost something`)
      // Nobody begins any more.
      await sleep((next - at) * seconds * 1000 - 60_000 + 5000)
    })
    await tables()
    const { status } = await theTemplate()
    assert.deepInclude(status.failures[0], { node: `node${first}`, reason: "SessionsLost" })
    assert.match(status.failures[0].message, /2 sessions were Established before, and 0 of 2 60 s later: .*peer AS/)
    const after = await nodeConfigs()
    assert.deepStrictEqual(after.map(({ spec }) => spec), before.map(({ spec }) => spec))
    for (const i of others) {
      assert.strictEqual(after[i - 1].metadata.generation, before[i - 1].metadata.generation, `node${i} was touched`)
    }
    const text = await said("status")
    assert.match(text, new RegExp(`template rack-a: generation ${metadata.generation + 1} is halted`))
    await counted({ nodes: 3, updated: 0, ready: 3 })
    // The edit that takes it back changes no node.
    await cluster.apply(template({ more: MORE }))
    await counted({ nodes: 3, updated: 3, ready: 3 })
    assert.notProperty((await theTemplate()).status, "failures")
  }, 900_000)

  it("take a wrong label of their own back alone, and another value of it at once", async () => {
    await losingOnlyMoved(of(1, 2), async () => {
      await label(cluster, 3, ASN, "65077")
      const [failure] = await until("a failure", async () => (await theTemplate()).status.failures, TRIAL_SECONDS + 30)
      assert.deepInclude(failure, { node: "node3", reason: "SessionsLost", alone: true })
      assert.notProperty((await theTemplate()).status, "conditions")
      await label(cluster, 3, ASN, String(NODE_ASN))
      await until("nothing is left of it", async () => (await theTemplate()).status.failures === undefined, 30)
      await established(cluster, 3)
    })
  }, 400_000)

  it("stay as they are where their template fits no longer, or is deleted, and follow again", async () => {
    const orphaned = async () =>
      (await nodeConfigs()).filter((it) => condition(it) === "Orphaned").map((it) => it.metadata.name)
    await lossless([...of(...nodes), ...SHARED], async () => {
      await label(cluster, 1, RACK, "b")
      await until("node1 is left alone", async () => (await orphaned()).join() === "node1", 30)
      await counted({ nodes: 2, updated: 2, ready: 2 })
      await label(cluster, 1, RACK, "a")
      await counted({ nodes: 3, updated: 3, ready: 3 })
      await cluster.kubectl("delete", "nct", TEMPLATE)
      await until("all are left alone", async () => (await orphaned()).length === 3, 30)
      await tables()
      await cluster.apply(template({ more: MORE }))
      await counted({ nodes: 3, updated: 3, ready: 3 }, 60)
      await until("all follow", async () => (await orphaned()).length === 0, 30)
    })
  })
})
