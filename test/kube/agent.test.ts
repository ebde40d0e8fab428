/** The built agent and the plugin against a real API server, with the rights of manifests/rbac.yaml and nothing else. */
import { assert, describe, it } from "@effect/vitest"
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs"
import * as net from "node:net"
import { join, resolve } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "./ApiServer.ts"
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

describe.runIf(available)("the agent in a cluster, with a real API server", () => {
  const netns = `flk-${process.pid}-${randomBytes(3).toString("hex")}`
  const pods: Array<string> = []
  let api: ApiServer
  let relay: ChildProcess
  let relaySocket: net.Server
  let agent: ChildProcess | undefined

  const inside = (...command: ReadonlyArray<string>) => ["nsenter", `--net=/run/netns/${netns}`, ...command] as const
  const here = (name: string) => join(api.dir, name)

  /** As a runtime starts the DaemonSet's agent: /proc/sys read-only, its mount propagation, its capabilities. */
  const confined = (...command: ReadonlyArray<string>): ReadonlyArray<string> => {
    const bounding = ["-all", ...agentContainer.securityContext.capabilities.add.map((c) => `+${c.toLowerCase()}`)]
    const mounts = [
      `mount --bind /proc/sys/net ${here("proc-sys-net")}`,
      "mount --bind /proc/sys /proc/sys",
      "mount -o remount,ro,bind /proc/sys"
    ]
    const drop = ["setpriv", "--no-new-privs", `--bounding-set=${bounding.join(",")}`, "--inh-caps=-all"]
    const { mountPropagation } = agentContainer.volumeMounts.find(({ mountPath }) => mountPath === "/run/netns") ?? {}
    const propagation = mountPropagation === "HostToContainer" ? "slave" : "private"
    return [
      "unshare",
      "-m",
      "--propagation",
      propagation,
      "sh",
      "-c",
      `${mounts.join(" && ")} && exec "$@"`,
      "sh",
      ...drop,
      ...command
    ]
  }

  const startAgent = async () => {
    const log = openSync(here("agent.log"), "a")
    const flags = ["--no-bird", "--node-name", lab.NODE, "--kubeconfig", here("netns.kubeconfig")]
    const paths = ["--state-dir", here("state"), "--socket", here("state/agent.sock")]
    const [command, ...args] = inside(...confined(process.execPath, join(root, "dist/flock-agent.mjs"), "run"))
    const began = performance.now()
    const env = { ...process.env, FLOCK_PROC_SYS_NET: here("proc-sys-net") }
    agent = spawn(command, [...args, ...flags, ...paths], { stdio: ["ignore", log, log], env })
    await lab.eventually("the agent serves", async () => (await plugin("STATUS", "")).status === 0)
    return Math.round(performance.now() - began)
  }

  const stopAgent = async (signal: NodeJS.Signals) => {
    const ended = new Promise((done) => agent?.once("exit", done))
    agent?.kill(signal)
    await ended
  }

  /** Not in the way of the relay, which is in this process too. */
  const plugin = (verb: string, pod: string, uid = "") =>
    new Promise<{ readonly status: number | null; readonly json: Record<string, unknown> }>((done) => {
      const child = spawn(join(root, "dist/cni/flock"), {
        stdio: ["pipe", "pipe", "inherit"],
        env: {
          CNI_COMMAND: verb,
          CNI_CONTAINERID: `c-${pod}`,
          CNI_NETNS: `/run/netns/${netns}-${pod}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: "/usr/lib/cni",
          CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod};K8S_POD_UID=${uid}`,
          FLOCK_SOCKET: here("state/agent.sock")
        }
      })
      const chunks: Array<Buffer> = []
      child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk))
      child.on("close", (status) => {
        const text = Buffer.concat(chunks).toString("utf8").trim()
        done({ status, json: text === "" ? {} : JSON.parse(text) })
      })
      child.stdin.end(JSON.stringify({ cniVersion: "1.1.0", name: "flock", type: "flock" }))
    })

  const add = async (pod: string) => {
    const { body } = await api.call("GET", `/api/v1/namespaces/default/pods/${pod}`).catch(() => ({ body: {} }))
    execFileSync("ip", ["netns", "add", `${netns}-${pod}`])
    pods.push(pod)
    return plugin("ADD", pod, body.metadata?.uid ?? "")
  }

  const metrics = () =>
    execFileSync(inside("curl")[0], [...inside("curl").slice(1), "-fsS", "http://127.0.0.1:9476/metrics"], {
      encoding: "utf8"
    })

  beforeAll(async () => {
    execFileSync(process.execPath, [join(root, "scripts/build.mjs")])
    api = await start()
    await lab.prepare(api)
    await lab.create(api, lab.nodeConfig())
    const own = { "flock.fritzlab.net/ip-algo": "namespace,pod" }
    await Promise.all(Array.from({ length: PODS }, (_, i) => lab.create(api, lab.pod(`pod-${i}`, own))))

    const target = new URL(api.url)
    relaySocket = net.createServer((from) => {
      const to = net.connect(Number(target.port), target.hostname)
      from.on("error", () => to.destroy()).on("close", () => to.destroy()).pipe(to)
      to.on("error", () => from.destroy()).on("close", () => from.destroy()).pipe(from)
    })
    await new Promise<void>((done) => relaySocket.listen(here("relay.sock"), done))
    execFileSync("ip", ["netns", "add", netns])
    execFileSync("ip", ["-n", netns, "link", "set", "lo", "up"])
    const [command, ...args] = inside(process.execPath, join(import.meta.dirname, "relay.mjs"), here("relay.sock"))
    relay = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
    const port = await new Promise<string>((done) => relay.stdout?.once("data", (text) => done(String(text).trim())))
    const kubeconfig = readFileSync(api.kubeconfig("agent"), "utf8").replace(api.url, `https://127.0.0.1:${port}`)
    writeFileSync(here("netns.kubeconfig"), kubeconfig)
    mkdirSync(here("state"))
    mkdirSync(here("proc-sys-net"))
  })

  afterAll(async () => {
    if (agent?.exitCode === null) await stopAgent("SIGKILL")
    relay?.kill()
    relaySocket?.close()
    for (const pod of pods) spawnSync("ip", ["netns", "del", `${netns}-${pod}`])
    spawnSync("ip", ["netns", "del", netns])
    await api?.stop()
  })

  const condition = async () => {
    const { body } = await api.call("GET", `/api/v1/nodes/${lab.NODE}`)
    return body.status.conditions?.find((c: { readonly type: string }) => c.type === "NetworkUnavailable")
  }

  it(`serves with ${PODS} pods on its node, reports itself, and is forbidden nothing`, async () => {
    const ready = await startAgent()
    const { json, status } = await add("pod-7")
    assert.strictEqual(status, 0, JSON.stringify(json))
    assert.match(JSON.stringify(json["ips"]), /"2001:db8:1:/)
    const available = await lab.eventually(
      "the condition",
      async () => (await condition())?.status === "False" && condition()
    )
    assert.deepInclude(available, { reason: "FlockReady" })
    const { body } = await lab.eventually("the status", async () => {
      const answer = await api.call("GET", `${lab.NODECONFIGS}/${lab.NODE}`)
      return answer.body.status?.addresses?.ipv4?.used === 1 && answer
    })
    assert.deepInclude(body.status.conditions[0], { type: "Ready", status: "True" })
    assert.strictEqual(body.status.observedGeneration, 1)
    const caps = /CapEff:\s+([0-9a-f]+)/.exec(readFileSync(`/proc/${agent?.pid}/status`, "utf8"))?.[1]
    assert.deepStrictEqual(agentContainer.securityContext.capabilities, {
      drop: ["ALL"],
      add: ["NET_ADMIN", "SYS_ADMIN", "DAC_OVERRIDE"]
    })
    assert.strictEqual(caps, "0000000000201002", "it runs with those capabilities (linux/capability.h)")
    assert.include(agentContainer.env.map(({ name }) => name), "FLOCK_PROC_SYS_NET")
    // The pod was in the cache: no GET of a pod was made, neither for this ADD nor for two more.
    for (const pod of ["pod-10", "pod-11"]) assert.strictEqual((await add(pod)).status, 0)
    const text = metrics()
    assert.match(text, /flock_kube_requests_total\{[^}]*resource="pods"/)
    assert.notMatch(text, /flock_kube_requests_total\{(?=[^}]*verb="get")[^}]*resource="pods"/)
    assert.notMatch(text, /flock_kube_requests_total\{[^}]*code="403"/)
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent?.pid}/status`, "utf8"))?.[1])
    console.log(`ready to serve ${PODS} pods after ${ready} ms, ${Math.round(rss / 1024)} MiB`)
  })

  it("writes an Event for what a pod asked and may not have", async () => {
    await lab.create(api, lab.pod("greedy", { "flock.fritzlab.net/anycast": "192.0.2.1" }))
    const { json, status } = await add("greedy")
    assert.notStrictEqual(status, 0, "default deny")
    assert.match(`${json["msg"]} ${json["details"]}`, /192\.0\.2\.1/)
    await lab.eventually("the Event", async () => {
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
    assert.strictEqual(known.status, 0, JSON.stringify(known.json))
    await stopAgent("SIGKILL")
    await startAgent()
    const unknown = await add("pod-9")
    assert.strictEqual(unknown.json["code"], 11)
    assert.match(`${unknown.json["msg"]} ${unknown.json["details"]}`, /pod-9.*not in the agent's cache.*no answer/s)
    api.restart()
    await lab.eventually("served again", async () => (await plugin("ADD", "pod-9")).status === 0)
  })
})
