/** containerd's CRI plugin, called as kubelet does: `CNI_ARGS` carry the pod, and its annotations count. */
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { DUAL, HOST } from "../../lab/AgentNode.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { criSocket, killContainerd, launchContainerd, startContainerd } from "./containerd.ts"
import { Cri, type SandboxConfig } from "./cri.ts"
import { IMAGE } from "./image.ts"
import { havePackages } from "./packages.ts"
import { NO_TRACE, RuntimeNode } from "./RuntimeNode.ts"

describe.runIf(havePackages("containerd", "runc", "busybox-static", "iptables"))("containerd's CRI", () => {
  const world = new World()
  let node: RuntimeNode
  let cri: Cri
  const sandboxes = new Set<string>()

  beforeAll(async () => {
    node = await RuntimeNode.open(world, { spec: { ...DUAL, anycast: { allowedCIDRs: ["2001:db8:a::/64"] } } })
    await Promise.all([node.start(), startContainerd(node, "k8s.io")])
    cri = new Cri(criSocket(node))
    await until("the CRI plugin has the sandbox image", () => cri.hasImage(IMAGE))
  })
  afterEach(async () => {
    for (const id of sandboxes) await remove(id)
  })
  afterAll(() => world.close())

  const start = async (name: string, options: Partial<SandboxConfig> = {}): Promise<string> => {
    const id = await cri.run({
      name,
      uid: `uid-${name}`,
      cgroupParent: `/${node.world.tag}`,
      logDirectory: `${node.directory}/logs`,
      ...options
    })
    sandboxes.add(id)
    return id
  }

  const remove = async (id: string): Promise<void> => {
    await cri.stop(id)
    // kubelet may stop a sandbox that it has stopped already.
    await cri.stop(id)
    await cri.remove(id)
    sandboxes.delete(id)
  }

  const serves = (...url: ReadonlyArray<string>) =>
    until(
      `HTTP at ${url.join(" ")}`,
      async () => (await node.inside("curl", "-sS", "--max-time", "2", ...url)) === "served by the pod\n"
    )

  it("a pod by its annotations, with kubelet's names, a host port, and nothing left after it", async () => {
    node.writePod("web", {
      uid: "uid-web",
      ready: true,
      annotations: { ipv6: "true", cidr6: "2001:db8:77:0:aaaa::/80", ipv4: "true", anycast: "2001:db8:a::53" }
    })
    const id = await start("web", { portMappings: [{ hostPort: 8081, containerPort: 80 }] })
    const [allocation] = await node.allocations()
    assert.deepInclude(allocation, {
      namespace: "default",
      pod: "web",
      uid: "uid-web",
      containerId: id,
      ifName: "eth0",
      anycast: ["2001:db8:a::53"]
    })
    const { ipv4 = "", ipv6 = "" } = allocation ?? {}
    assert.match(ipv6, /^2001:db8:77:0:aaaa:/)
    assert.sameMembers([...await cri.addresses(id)], [ipv6, ipv4])
    await serves(`http://[${ipv6}]/`)
    await serves(`http://${ipv4}/`)
    await serves("http://[2001:db8:a::53]/")
    assert.strictEqual((await node.routes(201)).length, 1)

    const client = await start("client")
    const targets = [...await cri.addresses(id), ...HOST, "2001:db8:a::53"]
    for (const target of targets) await inSandbox(client, "ping", "-c", "1", "-W", "2", target)
    assert.isNotEmpty((await node.traces())["portmap"])
    for (const host of [`[${HOST[0]}]`, HOST[1]]) {
      const page = await inSandbox(client, "wget", "-q", "-O", "-", `http://${host}:8081/`)
      assert.strictEqual(page, "served by the pod\n")
    }

    await remove(id)
    await remove(client)
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
    assert.deepStrictEqual(await node.routes(201), [])
  })

  it("kubernetes.io/ingress-bandwidth and egress-bandwidth shape the pod, and leave nothing", async () => {
    const shapers = async () =>
      (await node.inside("tc", "qdisc", "show")).split("\n").filter((line) => line.includes("tbf"))
    const interfaces = async () => JSON.parse(await node.inside("ip", "-json", "link", "show", "type", "ifb")).length
    const id = await start("shaped", {
      annotations: { "kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "20M" }
    })
    const [allocation] = await node.allocations()
    const lines = (await shapers()).toSorted((a, b) => a.length - b.length)
    assert.lengthOf(lines, 2)
    assert.isTrue(lines.some((line) => line.includes(`dev ${allocation?.hostIfName} `) && line.includes("rate 10Mbit")))
    assert.isTrue(lines.some((line) => line.includes("rate 20Mbit")))
    assert.strictEqual(await interfaces(), 1)
    await serves(`http://[${allocation?.ipv6}]/`)
    await remove(id)
    assert.deepStrictEqual([await shapers(), await interfaces()], [[], 0])
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  const inSandbox = (id: string, ...command: ReadonlyArray<string>) =>
    node.within(
      "ctr",
      "--address",
      criSocket(node),
      "--namespace=k8s.io",
      "task",
      "exec",
      `--exec-id=x${Math.random().toString(36).slice(2)}`,
      id,
      ...command
    )

  it("a refused annotation is kubelet's error text, and nothing is left of the sandbox", async () => {
    node.writePod("greedy", { uid: "uid-greedy", annotations: { anycast: "2001:db8:beef::1" } })
    let reason = ""
    await start("greedy").catch((error: unknown) => {
      reason = String(error)
    })
    assert.match(reason, /2001:db8:beef::1/)
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("ten sandboxes at once, each with addresses of its own, all gone at once", async () => {
    const ids = await Promise.all(Array.from({ length: 10 }, (_, i) => start(`many${i}`)))
    const addresses = (await Promise.all(ids.map((id) => cri.addresses(id)))).flat()
    assert.strictEqual(new Set(addresses).size, 20)
    for (const address of addresses) await node.inside("ping", "-c", "1", "-W", "2", "-q", address)
    await Promise.all(ids.map(remove))
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("the agent killed -9 and started again: pods stay, and a pod stopped meanwhile leaves nothing", async () => {
    const [kept, gone] = [await start("kept"), await start("gone")]
    const addresses = await cri.addresses(kept)
    await node.stop("SIGKILL")
    await remove(gone)
    await node.start()
    await until("the queue is worked off", async () => (await node.allocations()).length === 1)
    for (const address of addresses) await node.inside("ping", "-c", "1", "-W", "2", "-q", address)
    await remove(kept)
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("containerd killed -9 amid six sandboxes: when it is back, stopping what it knows leaves nothing", async () => {
    const runs = Promise.allSettled(Array.from({ length: 6 }, (_, i) => start(`cut${i}`)))
    await until("the first attachment", async () => (await node.allocations()).length > 0)
    await killContainerd(node)
    await launchContainerd(node)
    await until("the CRI plugin has the sandbox image", () => cri.hasImage(IMAGE))
    await runs
    const listed = await node.within("ctr", "--address", criSocket(node), "--namespace=k8s.io", "container", "ls", "-q")
    for (const id of listed.split("\n").filter((line) => line !== "")) await remove(id)
    const { allocations, links, portmap, queued, routes } = await node.traces()
    assert.deepStrictEqual({ ...NO_TRACE, allocations, links, portmap, queued, routes }, NO_TRACE)
  })
})
