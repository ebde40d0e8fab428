/** A pod gets its network: real plugin, real agent, real kernel. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { AgentNode, DUAL, HOST } from "../../lab/AgentNode.ts"
import { addressesOf, PLUGINS } from "../../lab/cni.ts"
import { exec, run } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
let node: AgentNode
beforeAll(async () => {
  node = await AgentNode.open(world, {
    spec: { ...DUAL, mtu: 1500, anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] } }
  })
  await node.start()
})
afterAll(() => world.close())
// A test that failed half-way must not fail the next ones.
afterEach(() => node.removeAll())

const inPod = (pod: string, ...command: ReadonlyArray<string>) => run("nsenter", `--net=/run/netns/${pod}`, ...command)

/** DEL, and nothing of it is left. */
const remove = async (pod: string, options = {}) => {
  assert.deepStrictEqual(await node.cni("DEL", pod, options), { code: 0, json: undefined })
  assert.deepStrictEqual(await node.links(), [])
  assert.deepStrictEqual(await node.routes(), [])
}

describe("dual-stack", () => {
  it("two pods reach each other and the host at once, by both families", async () => {
    const [a, b] = [await node.pod(), await node.pod()]
    const first = await node.add(a)
    const second = await node.add(b)
    for (const target of [...addressesOf(second), "fe80::1%eth0", ...HOST]) {
      assert.isTrue(await node.ping(a, target), target)
    }
    for (const target of addressesOf(first)) {
      assert.isTrue(await node.ping(b, target), target)
      await node.inside("ping", "-c", "1", "-W", "2", target)
    }
    assert.deepStrictEqual(await node.cni("CHECK", a, { config: { prevResult: first } }), { code: 0, json: undefined })
    await node.cni("DEL", b)
    await remove(a)
  })

  it("CHECK names what was changed behind its back", async () => {
    const pod = await node.pod()
    const prevResult = await node.add(pod)
    const check = () => node.cni("CHECK", pod, { config: { prevResult } })
    await inPod(pod, "ip", "-6", "route", "del", "default")
    const { code, json } = await check()
    assert.notStrictEqual(code, 0)
    assert.strictEqual(json.code, 102)
    assert.match(json.details, /default/)
    await inPod(pod, "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
    assert.strictEqual((await check()).code, 0)
    // What it can the agent puts right itself: somebody else's route it cannot.
    await node.ip("route", "add", `${addressesOf(prevResult)[1]}/32`, "dev", "lo")
    assert.match((await check()).json.details, /sends what is for \S+ elsewhere/)
    await remove(pod)
  })

  it("DEL works after the namespace is gone, twice, and for what was never added", async () => {
    const pod = await node.pod()
    await node.add(pod)
    await node.deletePod(pod)
    await remove(pod)
    await remove(pod)
    await remove("never-added")
  })

  it("ADD onto an interface that exists fails and leaves it alone", async () => {
    const pod = await node.pod([["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other0"]])
    const { code, json } = await node.cni("ADD", pod)
    assert.notStrictEqual(code, 0)
    assert.match(json.msg, /eth0 already exists/)
    assert.match(await inPod(pod, "ip", "link", "show", "eth0"), /eth0@other0/)
    await remove(pod)
    assert.match(await inPod(pod, "ip", "link", "show", "eth0"), /eth0@other0/)
  })

  it("two interfaces of one container", async () => {
    const pod = await node.pod()
    await node.add(pod)
    await node.add(pod, { ifName: "net1" })
    assert.strictEqual((await node.links()).length, 2)
    assert.strictEqual((await node.cni("DEL", pod, { ifName: "net1" })).code, 0)
    assert.strictEqual((await node.links()).length, 1)
    await remove(pod)
  })

  it("a namespace that is gone, or is none, is one clear error", async () => {
    const gone = await node.cni("ADD", "gone", { netns: "/run/netns/flock-no-such" })
    assert.strictEqual(gone.json.code, 3)
    assert.match(gone.json.msg, /flock-no-such/)
    const file = await node.cni("ADD", "file", { netns: "/etc/hostname" })
    assert.match(file.json.msg, /\/etc\/hostname/)
    assert.deepStrictEqual(await node.links(), [])
  })

  it("a namespace given as /proc/PID/ns/net", async () => {
    const holder = spawn("unshare", ["-n", "sleep", "60"])
    try {
      await once(holder, "spawn")
      const own = await run("readlink", "/proc/self/ns/net")
      let theirs = own
      while (theirs === own) theirs = await run("readlink", `/proc/${holder.pid}/ns/net`)
      const netns = `/proc/${holder.pid}/ns/net`
      const result = await node.add("byproc", { netns })
      assert.strictEqual(result.interfaces[1].sandbox, netns)
      await node.inside("ping", "-c", "1", "-W", "2", addressesOf(result)[0] ?? "")
      await remove("byproc", { netns })
    } finally {
      holder.kill("SIGKILL")
    }
  })

  it.each(["default", "all"])("disable_ipv6=1 on %s in the pod", async (which) => {
    const pod = await node.pod([["sysctl", "-qw", `net.ipv6.conf.${which}.disable_ipv6=1`]])
    const result = await node.add(pod)
    for (const target of addressesOf(result)) await node.inside("ping", "-c", "1", "-W", "2", target)
    await remove(pod)
  })

  it("the result has the shape of every version", async () => {
    for (const cniVersion of ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
      const pod = await node.pod()
      const result = await node.add(pod, { config: { cniVersion } })
      assert.strictEqual(result.cniVersion, cniVersion)
      assert.strictEqual(result.ips[0].version, cniVersion.startsWith("0.") ? "6" : undefined)
      assert.strictEqual(result.interfaces[1].mtu, cniVersion === "1.1.0" ? 1500 : undefined)
      await remove(pod)
    }
    const old = await node.cni("ADD", await node.pod(), { config: { cniVersion: "0.2.0" } })
    assert.strictEqual(old.json.code, 1)
  })
})

describe("annotations", () => {
  const named = async (name: string, annotations: Record<string, string>) => {
    const pod = await node.pod()
    node.writePod(name, { uid: `uid-${name}`, annotations })
    // At once: the runtime may be ahead of the watch.
    return { pod, options: { pod: name, uid: `uid-${name}` } }
  }

  it("one family only", async () => {
    for (const [annotation, family] of [["ipv4", 6], ["ipv6", 4]] as const) {
      const { options, pod } = await named(`only-${family}`, { [annotation]: "false" })
      const result = await node.add(pod, options)
      assert.strictEqual(result.ips.length, 1)
      assert.strictEqual(result.ips[0].address.includes(":"), family === 6)
      await node.inside("ping", "-c", "1", "-W", "2", addressesOf(result)[0] ?? "")
      const other = await exec("ip", ["-n", pod, family === 6 ? "-4" : "-6", "route", "show", "default"])
      assert.strictEqual(other.stdout, "")
      assert.strictEqual((await node.cni("CHECK", pod, { ...options, config: { prevResult: result } })).code, 0)
      await remove(pod)
    }
  })

  it("as they are at ADD, also when they were changed a moment before", async () => {
    for (let last = 1; last <= 8; last++) {
      const { options, pod } = await named("edited", { cidr4: `10.77.0.${180 + last}/32` })
      assert.include(addressesOf(await node.add(pod, options)), `10.77.0.${180 + last}`)
      await remove(pod)
    }
  })

  it("fixed addresses, ip-algo, a narrower range", async () => {
    const fixed = await named("fixed", { cidr6: "2001:db8:77::f1/128", cidr4: "10.77.0.200/32" })
    assert.deepStrictEqual(addressesOf(await node.add(fixed.pod, fixed.options)), ["2001:db8:77::f1", "10.77.0.200"])
    await remove(fixed.pod)
    const algo = await named("algo", { "ip-algo": "namespace,pod", cidr4: "10.77.0.64/28" })
    const first = addressesOf(await node.add(algo.pod, algo.options))
    await remove(algo.pod)
    const second = addressesOf(await node.add(algo.pod, algo.options))
    await remove(algo.pod)
    assert.strictEqual(first[0]?.slice(0, -1), second[0]?.slice(0, -1))
    assert.strictEqual(first[1], "10.77.0.66")
  })

  it("anycast addresses are on lo, not on eth0, and not in the result", async () => {
    const { options, pod } = await named("any", { anycast: "2001:db8:a::53,192.0.2.53" })
    const result = await node.add(pod, options)
    assert.strictEqual(result.ips.length, 2)
    const lo = await inPod(pod, "ip", "addr", "show", "lo")
    assert.include(lo, "2001:db8:a::53/128")
    assert.include(lo, "192.0.2.53/32")
    assert.notInclude(await inPod(pod, "ip", "addr", "show", "eth0"), "2001:db8:a::53")
    await remove(pod)
  })

  it("what is not allowed is refused, with the reason, and leaves nothing", async () => {
    for (
      const [i, [annotations, text]] of ([
        [{ anycast: "2001:db8:b::1" }, /2001:db8:b::1/],
        [{ addresses: "198.51.100.1" }, /198\.51\.100\.1/],
        [{ cidr6: "2001:db8:78::/64" }, /2001:db8:78::/],
        [{ ipv4: "false", ipv6: "false" }, /neither IPv6 nor IPv4/],
        [{ anycast: "nonsense" }, /nonsense/]
      ] as ReadonlyArray<readonly [Record<string, string>, RegExp]>).entries()
    ) {
      const { options, pod } = await named(`refused-${i}`, annotations)
      const { code, json } = await node.cni("ADD", pod, options)
      assert.notStrictEqual(code, 0)
      assert.strictEqual(json.code, 100)
      assert.match(json.msg, text)
      await remove(pod)
    }
  })
})

describe("chained plugins", () => {
  /** Runs a chained plugin of Debian's after flock, as libcni does. */
  const chained = (plugin: string, verb: string, pod: string, config: Record<string, unknown>) =>
    node.cni(verb, pod, { plugin: `${PLUGINS}/${plugin}`, config: { type: plugin, ...config } })

  it("portmap: a host port reaches the pod", async () => {
    const pod = await node.pod()
    const prevResult = await node.add(pod)
    const config = {
      prevResult,
      capabilities: { portMappings: true },
      runtimeConfig: { portMappings: [{ hostPort: 8088, containerPort: 80, protocol: "tcp" }] }
    }
    const { code, json } = await chained("portmap", "ADD", pod, config)
    assert.strictEqual(code, 0, JSON.stringify(json))
    assert.deepStrictEqual(json.ips, prevResult.ips)
    const server = spawn("nsenter", [
      `--net=/run/netns/${pod}`,
      "busybox",
      "nc",
      "-ll",
      "-p",
      "80",
      "-e",
      "/bin/echo",
      "hello"
    ])
    const asked = async (from: string, host: string): Promise<string> =>
      (await exec("nsenter", [`--net=/run/netns/${from}`, "busybox", "nc", "-w", "2", host, "8088"])).stdout.trim()
    try {
      await once(server, "spawn")
      const other = await node.pod()
      await node.add(other)
      await until("another pod reaches it", async () => await asked(other, HOST[1]) === "hello")
      // The node itself too, at its loopback address; the setting that it takes is portmap's to make, and stays.
      const conf = `net.ipv4.conf.${prevResult.interfaces[0].name}`
      const setting = (name: string) => node.inside("sysctl", "-n", `${conf}.${name}`)
      assert.strictEqual(await asked(node.netns, "127.0.0.1"), "hello")
      await node.inside("sysctl", "-qw", `${conf}.accept_redirects=1`, `${conf}.forwarding=0`)
      await until("the settings are flock's again", async () => (await setting("accept_redirects")).trim() === "0")
      assert.strictEqual((await setting("route_localnet")).trim(), "1")
      assert.strictEqual(await asked(node.netns, "127.0.0.1"), "hello")
      await node.cni("DEL", other)
    } finally {
      server.kill("SIGKILL")
    }
    assert.strictEqual((await chained("portmap", "DEL", pod, config)).code, 0)
    assert.strictEqual((await node.cni("CHECK", pod, { config: { prevResult: json } })).code, 0)
    await remove(pod)
  })

  it("bandwidth: shapes the host end that flock named", async () => {
    const pod = await node.pod()
    const prevResult = await node.add(pod)
    const config = {
      prevResult,
      ingressRate: 8_000_000,
      ingressBurst: 8_000_000,
      egressRate: 8_000_000,
      egressBurst: 8_000_000
    }
    const { code, json } = await chained("bandwidth", "ADD", pod, config)
    assert.strictEqual(code, 0, JSON.stringify(json))
    assert.match(await node.inside("tc", "qdisc", "show", "dev", prevResult.interfaces[0].name), /tbf/)
    assert.strictEqual((await node.cni("CHECK", pod, { config: { prevResult: json } })).code, 0)
    assert.strictEqual((await chained("bandwidth", "DEL", pod, config)).code, 0)
    await node.cni("DEL", pod)
    assert.deepStrictEqual(await node.routes(), [])
  })
})

describe("MTU", () => {
  it.each([1280, 9000])("%d is the pod's and the host's, and packets of that size pass", async (mtu) => {
    node.writeNodeConfig({ ...DUAL, mtu })
    await new Promise((done) => setTimeout(done, 200))
    const pod = await node.pod()
    const result = await node.add(pod)
    assert.include(await inPod(pod, "ip", "link", "show", "eth0"), `mtu ${mtu} `)
    assert.include(await node.ip("link", "show", result.interfaces[0].name), `mtu ${mtu} `)
    await node.inside("ping", "-M", "do", "-s", String(mtu - 28), "-c", "1", "-W", "2", addressesOf(result)[1] ?? "")
    await node.inside("ping", "-M", "do", "-s", String(mtu - 48), "-c", "1", "-W", "2", addressesOf(result)[0] ?? "")
    await remove(pod)
  })
})
