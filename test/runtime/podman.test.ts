/** podman's CNI back end: the container's name is the pod's, in the namespace `default`. */
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { DUAL, HOST } from "../../lab/AgentNode.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { IMAGE } from "./image.ts"
import { havePackages } from "./packages.ts"
import { preparePodman } from "./podman.ts"
import { NO_TRACE, RuntimeNode } from "./RuntimeNode.ts"

const PAGE = "served by the pod\n"

describe.runIf(havePackages("podman", "conmon", "runc", "busybox-static", "iptables"))("podman", () => {
  const world = new World()
  let node: RuntimeNode
  const podman = (...args: ReadonlyArray<string>) => node.within("podman", ...args)
  const start = (name: string, ...flags: ReadonlyArray<string>) =>
    podman(
      "run",
      "--detach",
      "--network=flock",
      `--cgroup-parent=/${node.world.tag}`,
      "--cap-add=NET_RAW",
      `--name=${name}`,
      ...flags,
      IMAGE
    )
  const remove = (...names: ReadonlyArray<string>) => podman("rm", "--force", "--time=0", ...names)

  /** `[IPv6, IPv4]` as podman knows them from the CNI result. */
  const addresses = async (name: string): Promise<readonly [string, string]> => {
    const [container] = JSON.parse(await podman("inspect", name))
    const network = container.NetworkSettings.Networks.flock
    return [network.GlobalIPv6Address, network.IPAddress]
  }

  const serves = (host: string) =>
    until(`HTTP at ${host}`, async () => (await node.inside("curl", "-sS", `http://${host}/`)) === PAGE)

  beforeAll(async () => {
    node = await RuntimeNode.open(world, { spec: { ...DUAL, anycast: { allowedCIDRs: ["192.0.2.0/24"] } } })
    await Promise.all([node.start(), preparePodman(node)])
  })
  afterEach(async () => {
    await podman("rm", "--all", "--force", "--time=0")
  })
  afterAll(() => world.close())

  it("two containers by name, with annotations and a published port, and nothing left after them", async () => {
    node.writePod("web", { ready: true, annotations: { cidr4: "10.77.0.77/32", anycast: "192.0.2.53" } })
    await Promise.all([start("web", "--publish=8080:80"), start("client")])
    const [web, client] = [await addresses("web"), await addresses("client")]
    assert.strictEqual(web[1], "10.77.0.77")
    const listed = (await node.allocations()).map((a) => [a.namespace, a.pod, a.ipv6, a.ipv4, ...a.anycast])
    assert.sameDeepMembers(listed, [["default", "web", ...web, "192.0.2.53"], ["default", "client", ...client]])

    const hosts = [`[${web[0]}]`, web[1], "192.0.2.53", `[${HOST[0]}]:8080`, `${HOST[1]}:8080`]
    for (const host of hosts) {
      await serves(host)
      assert.strictEqual(await podman("exec", "client", "wget", "-q", "-O", "-", `http://${host}/`), PAGE)
    }
    for (const address of [...web, ...HOST]) await podman("exec", "client", "ping", "-c", "1", "-W", "2", address)

    await remove("web", "client")
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("stop, start, restart, network reload, disconnect and connect: always one attachment, and it works", async () => {
    await start("web")
    for (
      const step of [
        ["restart", "--time=0", "web"],
        ["network", "reload", "web"],
        ["network", "disconnect", "flock", "web"],
        ["network", "connect", "flock", "web"],
        ["stop", "--time=0", "web"],
        ["start", "web"]
      ]
    ) {
      await podman(...step)
      const off = step.includes("disconnect") || step[0] === "stop"
      assert.strictEqual((await node.allocations()).length, off ? 0 : 1, step.join(" "))
      if (off) continue
      const [ipv6, ipv4] = await addresses("web")
      await serves(`[${ipv6}]`)
      await serves(ipv4)
    }
    await remove("web")
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("run --rm: a container that ends by itself leaves nothing", async () => {
    const seen = await podman(
      "run",
      "--rm",
      "--network=flock",
      `--cgroup-parent=/${node.world.tag}`,
      IMAGE,
      "ip",
      "address"
    )
    assert.match(seen, / 10\.77\.0\.2\/32 /)
    assert.match(seen, / 2001:db8:77:[0-9a-f:]+\/128 /)
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("the agent killed -9 before the container is removed: the DEL waits, and a new agent works it off", async () => {
    await start("web")
    const [ipv6] = await addresses("web")
    await node.stop("SIGKILL")
    await serves(`[${ipv6}]`)
    await remove("web")
    await node.start()
    await until("the queue is worked off", async () => (await node.traces())["queued"]?.length === 0)
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })
})
