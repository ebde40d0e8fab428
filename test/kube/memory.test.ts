/** The built agent within the DaemonSet's memory limit, on a node whose tenants make their Pods as large as they can. */
import { assert, describe, it } from "@effect/vitest"
import type { ChildProcess } from "node:child_process"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll } from "vitest"
import { AgentNode } from "../../lab/AgentNode.ts"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { type MemoryGroup, memoryGroup, memoryLimits } from "../../lab/memoryGroup.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "./lab.ts"

const PODS = 150
/** etcd takes 1.5 MiB an object. */
const LARGE = 1_400_000

const limits: ReadonlyArray<{ readonly name: string; readonly resources: { readonly limits?: { memory: string } } }> =
  lab.documents("daemonset.yaml")[0].spec.template.spec.containers
const LIMIT = Number(/^(\d+)Mi$/.exec(limits.find(({ name }) => name === "agent")?.resources.limits?.memory ?? "")?.[1])

class LimitedNode extends AgentNode {
  group: MemoryGroup | undefined

  protected override launch(command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): ChildProcess {
    this.group ??= memoryGroup(this.world, LIMIT * 1024 * 1024)
    return super.launch(this.group.within(command), env)
  }

  static override async open(world: World): Promise<LimitedNode> {
    const node = new LimitedNode(world, { name: lab.NODE, flags: ["--no-bird"] })
    await node.setUp()
    return node
  }
}

const large = (name: string) => {
  const { spec, ...rest } = lab.pod(name)
  const [container] = spec.containers
  return {
    ...rest,
    spec: { ...spec, containers: [{ ...container, env: [{ name: "X", value: "é\"".repeat(LARGE / 4) }] }] }
  }
}

const phase = (api: ApiServer, name: string, value: string) =>
  api.call(
    "PATCH",
    `/api/v1/namespaces/default/pods/${name}/status`,
    { status: { phase: value } },
    "application/strategic-merge-patch+json"
  )

describe.runIf(available && memoryLimits)(`${PODS} Pods of ${LARGE} bytes`, () => {
  const world = new World()
  let api: ApiServer
  let node: LimitedNode

  const rss = (): number => {
    const status = readFileSync(`/proc/${node.agent?.pid}/status`, "utf8")
    return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024)
  }
  const metric = async (name: string) =>
    Number(new RegExp(`^${name} (\\S+)$`, "m").exec(await node.metrics())?.[1] ?? 0)

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
    await lab.create(api, lab.nodeConfig())
    for (let i = 0; i < PODS; i += 5) {
      await Promise.all([0, 1, 2, 3, 4].map((n) => lab.create(api, large(`p${i + n}`))))
    }
    node = await LimitedNode.open(world)
    const { kubeconfig } = await api.relay("agent", node.netns)
    node.kubeconfig = kubeconfig
  }, 120_000)
  afterAll(() => world.close())

  it("are listed and followed within the limit, at every start", async () => {
    for (const nth of [1, 2]) {
      const began = performance.now()
      await node.start()
      const netns = `/run/netns/${await node.pod()}`
      const { uid } = (await api.call("GET", "/api/v1/namespaces/default/pods/p7")).body.metadata
      await node.add(`c${nth}`, { netns, pod: "p7", uid })
      await until(
        "the pods are listed",
        async () =>
          /^flock_kube_requests_total\{[^}]*verb="watch"[^}]*resource="pods"[^}]*\} [1-9]/m.test(await node.metrics()),
        60
      )
      console.log(
        `start ${nth}: listed after ${Math.round(performance.now() - began)} ms, ` +
          `RSS at most ${rss()} MB, group ${Math.round((node.group?.peak() ?? 0) / 1048576)} of ${LIMIT} MB`
      )
      // Each of them changes: a watch line of its own.
      if (nth === 2) {
        for (let i = 0; i < PODS; i++) await lab.setReady(api, `p${i}`, true)
        console.log(`after ${PODS} changes: RSS at most ${rss()} MB`)
      }
      assert.strictEqual(node.group?.kills(), 0)
      assert.isNull(node.agent?.exitCode ?? null)
      assert.isBelow(rss(), LIMIT / 2)
      await node.cni("DEL", `c${nth}`, { netns, pod: "p7", uid })
      if (nth === 1) await node.stop("SIGKILL")
    }
    assert.strictEqual(await metric("flock_allocations"), 0)
  })

  it("that ended are not the agent's: one leaves it when it ends, and an ADD asks for it by name", async () => {
    const list = async () => (await node.tool("status", "--json")).code
    assert.strictEqual(await list(), 0)
    for (const [name, value] of [["p1", "Succeeded"], ["p2", "Failed"]] as const) {
      assert.strictEqual((await phase(api, name, value)).status, 200)
    }
    const netns = `/run/netns/${await node.pod()}`
    const { uid } = (await api.call("GET", "/api/v1/namespaces/default/pods/p1")).body.metadata
    // Not in the cache, so it is asked for; what kubelet wants to start is started.
    await node.add("ended", { netns, pod: "p1", uid })
    const gets = async () =>
      /^flock_kube_requests_total\{[^}]*verb="get"[^}]*resource="pods"[^}]*\} [1-9]\d*$/m.exec(await node.metrics())
    await until("the GET", async () => (await gets()) !== null)
    await node.cni("DEL", "ended", { netns, pod: "p1", uid })
  })
})
