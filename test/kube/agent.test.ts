/** The built agent and the plugin against a real API server, with the rights of manifests/rbac.yaml and nothing else. */
import { assert, describe, it } from "@effect/vitest"
import { type ChildProcess, execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { AgentNode, type NodeOptions } from "../../lab/AgentNode.ts"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "./lab.ts"

const root = resolve(import.meta.dirname, "../..")
const PODS = 250

interface Container {
  readonly name: string
  readonly env: ReadonlyArray<{ readonly name: string; readonly value?: string }>
  readonly volumeMounts: ReadonlyArray<{ readonly mountPath: string; readonly mountPropagation?: string }>
  readonly securityContext: {
    readonly capabilities: { readonly drop: ReadonlyArray<string>; readonly add: ReadonlyArray<string> }
  }
}

const containers: ReadonlyArray<Container> = lab.documents("daemonset.yaml")[0].spec.template.spec.containers
const agentContainer = containers.find(({ name }) => name === "agent") ?? assert.fail("the DaemonSet has no agent")

/** As a runtime starts the DaemonSet's agent: /proc/sys read-only, its mount propagation, its capabilities. */
class ConfinedNode extends AgentNode {
  protected override launch(command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): ChildProcess {
    const sysctls = join(this.directory, "proc-sys-net")
    mkdirSync(sysctls, { recursive: true })
    const bounding = ["-all", ...agentContainer.securityContext.capabilities.add.map((c) => `+${c.toLowerCase()}`)]
    const mounts = [
      `mount --bind /proc/sys/net ${sysctls}`,
      "mount --bind /proc/sys /proc/sys",
      "mount -o remount,ro,bind /proc/sys"
    ]
    const drop = ["setpriv", "--no-new-privs", `--bounding-set=${bounding.join(",")}`, "--inh-caps=-all"]
    const { mountPropagation } = agentContainer.volumeMounts.find(({ mountPath }) => mountPath === "/run/netns") ?? {}
    const propagation = mountPropagation === "HostToContainer" ? "slave" : "private"
    const confined = ["unshare", "-m", "--propagation", propagation, "sh", "-c", `${mounts.join(" && ")} && exec "$@"`]
    return super.launch([...confined, "sh", ...drop, ...command], { ...env, FLOCK_PROC_SYS_NET: sysctls })
  }

  static override async open(world: World, options: NodeOptions): Promise<ConfinedNode> {
    const node = new ConfinedNode(world, options)
    await node.setUp()
    return node
  }
}

describe.runIf(available)("the agent in a cluster, with a real API server", () => {
  const world = new World()
  const netnsOf = new Map<string, string>()
  let api: ApiServer
  let node: ConfinedNode

  const startAgent = async () => {
    const began = performance.now()
    node.spawnAgent()
    await until("the agent serves", async () => (await call("STATUS")).code === 0)
    return Math.round(performance.now() - began)
  }

  const call = (verb: string, pod = "", uid = "") =>
    node.cni(verb, pod === "" ? "" : `c-${pod}`, {
      pod,
      uid,
      netns: `/run/netns/${netnsOf.get(pod)}`,
      config: { cniVersion: "1.1.0" }
    })

  const add = async (pod: string) => {
    const { body } = await api.call("GET", `/api/v1/namespaces/default/pods/${pod}`).catch(() => ({ body: {} }))
    netnsOf.set(pod, await node.pod())
    return call("ADD", pod, body.metadata?.uid ?? "")
  }

  beforeAll(async () => {
    execFileSync(process.execPath, [join(root, "scripts/build.mjs")])
    api = await start(world)
    await lab.prepare(api)
    await lab.create(api, lab.nodeConfig())
    const own = { "flock.fritzlab.net/ip-algo": "namespace,pod" }
    await Promise.all(Array.from({ length: PODS }, (_, i) => lab.create(api, lab.pod(`pod-${i}`, own))))
    node = await ConfinedNode.open(world, { name: lab.NODE })
    node.kubeconfig = (await api.relay("agent", node.netns)).kubeconfig
  })
  afterAll(() => world.close())

  const condition = async () => {
    const { body } = await api.call("GET", `/api/v1/nodes/${lab.NODE}`)
    return body.status.conditions?.find((c: { readonly type: string }) => c.type === "NetworkUnavailable")
  }

  it(`serves with ${PODS} pods on its node, reports itself, and is forbidden nothing`, async () => {
    const ready = await startAgent()
    // It serves from its NodeConfig on; the watch of pods is opened when their list has been taken in.
    await until(
      "the pods are listed",
      async () =>
        /flock_kube_requests_total\{verb="watch",resource="pods",code="200"\} [1-9]/.test(await node.metrics())
    )
    const { code, json } = await add("pod-7")
    assert.strictEqual(code, 0, JSON.stringify(json))
    assert.match(JSON.stringify(json["ips"]), /"2001:db8:1:/)
    const available = await until(
      "the condition",
      async () => (await condition())?.status === "False" && condition()
    )
    assert.deepInclude(available, { reason: "FlockReady" })
    const { body } = await until("the status", async () => {
      const answer = await api.call("GET", `${lab.NODECONFIGS}/${lab.NODE}`)
      return answer.body.status?.addresses?.ipv4?.used === 1 && answer
    })
    assert.deepInclude(body.status.conditions[0], { type: "Ready", status: "True" })
    assert.strictEqual(body.status.observedGeneration, 1)
    const caps = /CapEff:\s+([0-9a-f]+)/.exec(readFileSync(`/proc/${node.agent?.pid}/status`, "utf8"))?.[1]
    assert.deepStrictEqual(agentContainer.securityContext.capabilities, {
      drop: ["ALL"],
      add: ["NET_ADMIN", "SYS_ADMIN", "DAC_OVERRIDE"]
    })
    assert.strictEqual(caps, "0000000000201002", "it runs with those capabilities (linux/capability.h)")
    assert.include(agentContainer.env.map(({ name }) => name), "FLOCK_PROC_SYS_NET")
    // The pod was in the cache: no GET of a pod was made, neither for this ADD nor for two more.
    for (const pod of ["pod-10", "pod-11"]) assert.strictEqual((await add(pod)).code, 0)
    const text = await node.metrics()
    assert.match(text, /flock_kube_requests_total\{[^}]*resource="pods"[^}]*\} [1-9]/)
    // Series of the usual answers are there from the start, at 0.
    assert.notMatch(text, /flock_kube_requests_total\{(?=[^}]*verb="get")[^}]*resource="pods"[^}]*\} [1-9]/)
    assert.notMatch(text, /flock_kube_requests_total\{[^}]*code="403"[^}]*\} [1-9]/)
    assert.match(text, /flock_kube_requests_total\{verb="get",resource="pods",code="403"\} 0/)
    const { status, stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" })
    assert.deepStrictEqual([status, stderr], [0, ""])
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.agent?.pid}/status`, "utf8"))?.[1])
    console.log(`ready to serve ${PODS} pods after ${ready} ms, ${Math.round(rss / 1024)} MiB`)
  })

  it("writes an Event for what a pod asked and may not have", async () => {
    await lab.create(api, lab.pod("greedy", { "flock.fritzlab.net/anycast": "192.0.2.1" }))
    const { code, json } = await add("greedy")
    assert.notStrictEqual(code, 0, "default deny")
    assert.match(`${json["msg"]} ${json["details"]}`, /192\.0\.2\.1/)
    await until("the Event", async () => {
      const { body } = await api.call(
        "GET",
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=greedy"
      )
      return body.items.length > 0
    })
  })

  it("without the API server: serves pods that it knows, and after a restart says why it cannot serve others", async () => {
    api.signal("SIGKILL")
    const known = await add("pod-8")
    assert.strictEqual(known.code, 0, JSON.stringify(known.json))
    await node.stop("SIGKILL")
    await startAgent()
    const unknown = await add("pod-9")
    assert.strictEqual(unknown.json["code"], 11)
    assert.match(`${unknown.json["msg"]} ${unknown.json["details"]}`, /pod-9.*not in the agent's cache.*no answer/s)
    api.restart()
    await until("served again", async () => (await call("ADD", "pod-9")).code === 0)
  })
})
