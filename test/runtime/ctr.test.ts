/** containerd's `ctr run --cni`: the real libcni, with what `flock-agent install-cni` installed. */
import { type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { DUAL, HOST } from "../../lab/AgentNode.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { criSocket, startContainerd } from "./containerd.ts"
import { IMAGE } from "./image.ts"
import { havePackages } from "./packages.ts"
import { NO_TRACE, RuntimeNode } from "./RuntimeNode.ts"

const url = (address: string): string => `http://${address.includes(":") ? `[${address}]` : address}/`

describe.runIf(havePackages("containerd", "runc", "busybox-static", "iptables"))("ctr run --cni", () => {
  const world = new World()
  let node: RuntimeNode
  const running = new Map<string, ChildProcess>()
  const log = (id: string) => join(node.directory, `${id}.log`)

  const ctr = (...args: ReadonlyArray<string>) => node.within("ctr", "--address", criSocket(node), ...args)

  /** In the foreground, as `ctr run` of containerd 1.6 sends DEL only then. */
  const launch = (id: string): ChildProcess => {
    const child = node.spawnWithin(
      log(id),
      "ctr",
      ..."--address SOCKET run --rm --cni --snapshotter native".replace("SOCKET", criSocket(node)).split(" "),
      `--cgroup=/${node.world.tag}/${id}`,
      IMAGE,
      id,
      "sh",
      "-c",
      `echo ${id} >/www/index.html && mkfifo /stop && httpd -h /www && read line </stop`
    )
    running.set(id, child)
    return child
  }

  const inside = (id: string, ...command: ReadonlyArray<string>) =>
    ctr("task", "exec", "--exec-id", `x${Math.random().toString(36).slice(2)}`, id, ...command)

  /** `[IPv6, IPv4]` of a container, once it serves. */
  const addresses = async (id: string): Promise<readonly [string, string]> => {
    const found = await until(`${id} has addresses`, async () => {
      if (running.get(id)?.exitCode !== null) throw new Error(readFileSync(log(id), "utf8"))
      return (await node.allocations()).find((a) => a.containerId === `default-${id}`)
    })
    const pair = [found.ipv6 ?? "", found.ipv4 ?? ""] as const
    await until(`${id} serves`, async () => await fetch(pair[1]) === id)
    return pair
  }

  const fetch = async (address: string): Promise<string> =>
    (await node.inside("curl", "-sS", "--max-time", "5", url(address))).trim()

  /** Ends the container; the exit code of `ctr run`, which comes after its DEL. */
  const end = async (id: string): Promise<void> => {
    const child = running.get(id)
    if (child === undefined) return
    running.delete(id)
    if (child.exitCode !== null) return
    const ended = once(child, "exit")
    // Fails where the container has just ended by itself.
    await ctr("task", "kill", "--signal", "KILL", id).catch(() => undefined)
    await ended
  }

  beforeAll(async () => {
    node = await RuntimeNode.open(world)
    await Promise.all([node.start(), startContainerd(node, "default")])
  })
  afterEach(async () => {
    for (const id of running.keys()) await end(id)
  })
  afterAll(() => world.close())

  it("two at once get both addresses, reach each other and the node, and leave nothing", async () => {
    for (const id of ["one", "two"]) launch(id)
    const [one, two] = await Promise.all([addresses("one"), addresses("two")])
    assert.strictEqual(new Set([...one, ...two]).size, 4)

    // What libcni was told is what the kernel has.
    const cache = JSON.parse(await node.within("cat", "/var/lib/cni/results/flock-default-one-eth0"))
    assert.deepStrictEqual(
      cache.result.ips.map((ip: { readonly address: string }) => ip.address),
      [`${one[0]}/128`, `${one[1]}/32`]
    )
    const seen = await inside("one", "ip", "-o", "address", "show", "dev", "eth0")
    for (const { address } of cache.result.ips) assert.include(seen, ` ${address} `)

    for (const address of [...two, ...HOST]) await inside("one", "ping", "-c", "1", "-W", "2", address)
    for (const address of one) {
      await node.inside("ping", "-c", "1", "-W", "2", address)
      assert.strictEqual(await fetch(address), "one")
      assert.strictEqual((await inside("two", "wget", "-q", "-O", "-", url(address))).trim(), "one")
    }

    await end("one")
    // Of two containers only the other one is left.
    assert.deepStrictEqual((await node.allocations()).map((a) => a.containerId), ["default-two"])
    for (const address of two) assert.strictEqual(await fetch(address), "two")
    await end("two")
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("a container that ends by itself leaves nothing, and its name can be used again at once", async () => {
    for (let round = 0; round < 2; round++) {
      const child = launch("again")
      await addresses("again")
      const ended = once(child, "exit")
      // The container's end may take this process with it.
      await inside("again", "sh", "-c", "echo >/stop").catch(() => undefined)
      assert.deepStrictEqual(await ended, [0, null])
      assert.deepStrictEqual(await node.traces(), NO_TRACE)
    }
  })

  it("with no address left, ctr prints flock's reason, and nothing of the second is left", async () => {
    node.writeNodeConfig({ ...DUAL, cidr4: "10.77.9.0/30" })
    await until(
      "the smaller range is in force",
      async () => JSON.parse((await node.tool("status", "--json")).stdout).nodeConfig.cidr4 === "10.77.9.0/30"
    )
    try {
      launch("first")
      const first = await addresses("first")
      assert.strictEqual(first[1], "10.77.9.2")
      assert.deepStrictEqual(await once(launch("second"), "exit"), [1, null])
      assert.match(readFileSync(log("second"), "utf8"), /no free IPv4 address in 10\.77\.9\.0\/30/)
      assert.deepStrictEqual((await node.allocations()).map((a) => a.containerId), ["default-first"])
      assert.strictEqual((await node.links()).length, 1)
      assert.strictEqual(await fetch(first[0]), "first")
    } finally {
      node.writeNodeConfig(DUAL)
    }
    await end("first")
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })

  it("the agent killed before the container ends: the DEL waits, ADD is refused, a new agent works it off", async () => {
    launch("orphan")
    const [ipv6] = await addresses("orphan")
    await node.stop("SIGKILL")
    assert.strictEqual(await fetch(ipv6), "orphan", "a running container does not need the agent")
    assert.deepStrictEqual(await once(launch("early"), "exit"), [1, null])
    assert.match(readFileSync(log("early"), "utf8"), /flock-agent cannot be reached at .*agent.sock/)
    await end("orphan")
    // libcni sends a DEL for a failed ADD as well.
    assert.deepStrictEqual(readdirSync(join(node.directory, "del-queue")).toSorted(), [
      "default-early@eth0.json",
      "default-orphan@eth0.json",
      "lock"
    ])
    await node.start()
    await until("the queue is worked off", async () => (await node.traces())["queued"]?.length === 0)
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
    // The address that was given back can be given out.
    launch("orphan")
    await addresses("orphan")
    await end("orphan")
    assert.deepStrictEqual(await node.traces(), NO_TRACE)
  })
})
