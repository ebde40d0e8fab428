/** What was built stays built: whatever something else on the node changes of a pod's host side, the agent puts right. */
import { readFileSync } from "node:fs"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { AgentNode, type Attached, DUAL, HOST } from "../../lab/AgentNode.ts"
import { inside } from "../../lab/exec.ts"
import { Pod } from "../../lab/Pod.ts"
import { RouteMonitor } from "../../lab/RouteMonitor.ts"
import { now, sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: DUAL })
  await node.start()
})
afterEach(() => world.close())

/** Every fact of the host's side that flock made, as text that does not change while nothing does. */
const hostSide = async (link: string): Promise<string> => {
  const [shown] = JSON.parse(await node.ip("-j", "-d", "link", "show", link))
  const settings = await node.inside(
    "sh",
    "-c",
    `cd /proc/sys/net; grep -r . ipv4/conf/${link} ipv6/conf/${link} ipv4/ip_forward ipv6/conf/all/forwarding ` +
      "ipv4/conf/all/rp_filter | grep -v -e stable_secret -e /mtu: | sort"
  )
  return [
    shown.ifname,
    shown.flags.toSorted().join(),
    shown.ifalias,
    shown.address,
    shown.mtu,
    shown.master ?? "no master",
    shown.inet6_addr_gen_mode,
    await node.ip("-o", "address", "show", "dev", link),
    await node.ip("route", "show", "dev", link),
    await node.ip("-6", "route", "show", "dev", link),
    (await node.ip("neigh", "show", "dev", link, "nud", "permanent")).split("\n").toSorted().join("\n"),
    settings
  ].map((text) => String(text).replaceAll(/^\d+: /gm, "").trim()).join("\n")
}

const connected = async (pod: Attached): Promise<boolean> =>
  (await Promise.all([
    ...HOST.map((target) => node.ping(pod.netns, target)),
    node.ping(node.netns, pod.v6),
    node.ping(node.netns, pod.v4)
  ])).every((ok) => ok)

type Sabotage = readonly [name: string, command: (link: string, pod: Attached) => string]

const SABOTAGES: ReadonlyArray<Sabotage> = [
  ["link down", (link) => `ip link set ${link} down`],
  ["link down and up", (link) => `ip link set ${link} down; ip link set ${link} up`],
  ["alias", (link) => `ip link set ${link} alias mine`],
  ["MTU", (link) => `ip link set ${link} mtu 1400`],
  ["MTU below what IPv6 needs", (link) => `ip link set ${link} mtu 1000`],
  ["MAC", (link) => `ip link set ${link} address 02:00:00:00:00:01`],
  ["ARP off", (link) => `ip link set ${link} arp off`],
  ["a bridge takes the link", (link) => `ip link add br9 type bridge; ip link set ${link} master br9`],
  ["link renamed", (link) => `ip link set ${link} down; ip link set ${link} name other; ip link set other up`],
  ["addresses flushed", (link) => `ip address flush dev ${link}`],
  ["fe80::1 removed", (link) => `ip address del fe80::1/64 dev ${link}`],
  ["IPv4 routes flushed", (link) => `ip -4 route flush dev ${link}`],
  ["IPv6 routes flushed", (link) => `ip -6 route flush dev ${link}`],
  ["all routes of protocol 200 flushed", () => "ip -4 route flush proto 200; ip -6 route flush proto 200"],
  ["IPv4 route replaced", (_, { v4 }) => `ip route replace ${v4} dev lo metric 1024`],
  ["IPv6 route replaced", (_, { v6 }) => `ip -6 route replace ${v6} dev lo metric 1024`],
  ["neighbours flushed", (link) => `ip neigh flush dev ${link} nud permanent`],
  ["an IPv4 neighbour deleted", (link, { v4 }) => `ip neigh del ${v4} dev ${link}`],
  [
    "an IPv6 neighbour's MAC changed",
    (link, { v6 }) => `ip neigh replace ${v6} lladdr 02:00:00:00:00:09 dev ${link} nud permanent`
  ],
  [
    "a neighbour made to age",
    (link, { v4 }) => `ip neigh replace ${v4} lladdr 02:00:00:00:00:09 dev ${link} nud reachable`
  ],
  ["IPv4 forwarding off", () => "echo 0 > /proc/sys/net/ipv4/ip_forward"],
  ["IPv6 forwarding off", () => "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"],
  ["rp_filter of all strict", () => "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter"],
  ["rp_filter of the link", (link) => `echo 2 > /proc/sys/net/ipv4/conf/${link}/rp_filter`],
  ["proxy_arp off", (link) => `echo 0 > /proc/sys/net/ipv4/conf/${link}/proxy_arp`],
  ["IPv6 off", (link) => `echo 1 > /proc/sys/net/ipv6/conf/${link}/disable_ipv6`]
]

/** Not told by the kernel: found by the tick. */
const UNTOLD: ReadonlyArray<Sabotage> = [
  ["accept_ra on", (link) => `echo 2 > /proc/sys/net/ipv6/conf/${link}/accept_ra`],
  ["send_redirects on", (link) => `echo 1 > /proc/sys/net/ipv4/conf/${link}/send_redirects`]
]

const attached = async () => {
  const pod = await node.attachedPod()
  const link = await linkOf(pod)
  assert.isTrue(await connected(pod))
  return { pod, link, wanted: await hostSide(link) }
}

const linkOf = async ({ v4 }: Attached): Promise<string> => {
  const { allocations } = await node.status()
  return allocations.find(({ ipv4 }) => ipv4 === v4)?.hostIfName ?? ""
}

const sabotage = (command: string) => node.inside("sh", "-c", command)

const untilAsBefore = async (link: string, wanted: string, seconds: number) => {
  await until("as before", async () => (await hostSide(link)) === wanted, seconds).catch(async (error) => {
    assert.strictEqual(await hostSide(link), wanted, String(error))
  })
}

describe("what was built is put right at once", () => {
  for (const [name, command] of SABOTAGES) {
    it(`after this: ${name}`, async () => {
      const { link, pod, wanted } = await attached()
      await sabotage(command(link, pod))
      await untilAsBefore(link, wanted, 3)
      assert.isTrue(await connected(pod))
      assert.match(await node.metrics(), /flock_repairs_total\{[^}]*\} [1-9]/)
      assert.match(node.readLog(), /something else had changed this; put right|settings were not as they have to be/)
    })
  }

  it("of a pod that an agent before it has attached", async () => {
    const { link, pod, wanted } = await attached()
    await node.stop()
    await node.start()
    for (const [name, command] of SABOTAGES) {
      await sabotage(command(link, pod))
      await untilAsBefore(link, wanted, 10)
      assert.isTrue(await connected(pod), name)
      await sabotage("ip link del br9 2>/dev/null; true")
    }
  })
})

describe("what was built is put right when an agent starts", () => {
  it("whatever happened while there was none", async () => {
    const { link, pod, wanted } = await attached()
    for (const [name, command] of [...SABOTAGES.filter(([name]) => name !== "link renamed"), ...UNTOLD]) {
      await node.stop()
      await sabotage(command(link, pod))
      await node.start()
      assert.strictEqual(await hostSide(link), wanted, name)
      assert.isTrue(await connected(pod), name)
      await sabotage("ip link del br9 2>/dev/null; true")
    }
  }, 180_000)
})

describe("what was built is put right by the tick", () => {
  it("where the kernel tells nothing", async () => {
    const { link, pod, wanted } = await attached()
    for (const [, command] of UNTOLD) await sabotage(command(link, pod))
    assert.notStrictEqual(await hostSide(link), wanted)
    await untilAsBefore(link, wanted, 17)
  })
})

describe("another program that wants it otherwise", () => {
  it("does not take the processor, is said once by name, and loses when it stops", async () => {
    const { link, pod, wanted } = await attached()
    const cpu = await cpuTime()
    const fighter = world.spawn(
      ["sh", "-c", `while :; do ip -4 route flush proto 200; echo 0 > /proc/sys/net/ipv4/ip_forward; sleep 0.02; done`],
      { netns: node.netns }
    )
    await sleep(8000)
    fighter.kill("SIGKILL")
    const used = (await cpuTime()) - cpu
    await untilAsBefore(link, wanted, 5)
    assert.isTrue(await connected(pod))
    assert.isBelow(used, 1.2, "seconds of processor in 8 s")
    const log = node.readLog().split("\n")
    const said = log.filter((line) => line.includes("something keeps changing this"))
    assert.lengthOf(said.filter((line) => line.includes(`host route ${pod.v4}/32 is missing`)), 1)
    assert.lengthOf(said.filter((line) => line.includes("ipv4/ip_forward=1")), 1)
    assert.isBelow(log.filter((line) => line.includes("something else had changed this")).length, 5)
  })
})

/** Seconds of processor that the agent has used. */
const cpuTime = async (): Promise<number> => {
  const fields = readFileSync(`/proc/${node.agent?.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

describe("what the agent itself does", () => {
  it("is put right by nobody: ADDs and DELs of the same containers, side by side and one after another", async () => {
    const names = await Promise.all(Array.from({ length: 12 }, () => node.pod()))
    const busy = names.map(async (name, i) => {
      for (let round = 0; round < 8; round++) {
        await node.add(name)
        if ((i + round) % 3 === 0) await sleep(20)
        assert.strictEqual((await node.cni("DEL", name)).code, 0)
      }
      await node.add(name)
    })
    await Promise.all(busy)
    await sleep(300)
    assert.notInclude(node.readLog(), "put right")
    assert.deepStrictEqual(
      [...(await node.metrics()).matchAll(/^flock_repairs_total.* [1-9].*$/gm)].map(([line]) => line),
      []
    )
    assert.notMatch(await node.metrics(), /flock_unreachable_attachments\{reason="[a-z-]+"\} [1-9]/)
    const routed = (await node.routes()).map((line) => line.split(" ")[0])
    const held = (await node.status()).allocations.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
    assert.deepStrictEqual(routed.toSorted(), held.toSorted())
  })

  it("is not woken by the neighbour entries that a pod makes, and changes by the thousand", async () => {
    const { link, pod } = await attached()
    const before = await cpuTime()
    await sabotage(
      `for i in $(seq 1 40); do for j in $(seq 1 100); do
        echo "neigh replace 10.200.1.$j lladdr 02:00:00:00:00:0$((i % 10)) dev ${link} nud stale"
      done; done | ip -batch -`
    )
    assert.isBelow((await cpuTime()) - before, 0.1)
    assert.isTrue(await connected(pod))
    assert.notInclude(node.readLog(), "something else had changed")
  })
})

describe("a hundred pods", () => {
  it("get all their routes back in one go", async () => {
    for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 10 }, () => node.attachedPod()))
    const before = (await node.routes()).toSorted()
    assert.lengthOf(before, 200)
    const monitor = await RouteMonitor.open(world, node.netns)
    const [first = ""] = before.filter((line) => line.includes("."))
    const since = now()
    await sabotage("ip -4 route flush proto 200")
    await until("every route is back", async () => (await node.routes()).length === 200, 3)
    const back = monitor.last(first.split(" ")[0] ?? "", since)
    assert.isFalse(back?.deleted)
    assert.deepStrictEqual((await node.routes()).toSorted(), before)
    await sleep(5000)
    const idle = await cpuTime()
    await sleep(30_000)
    const used = (await cpuTime()) - idle
    assert.isBelow(used, 0.3, "seconds of processor in 30 s without work; 1 % of a core")
  }, 120_000)
})

const ANYCAST = ["2001:db8:a::53", "192.0.2.53"] as const

const withAnycast = async () => {
  node.writeNodeConfig({ ...DUAL, anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] } })
  const pod = await Pod.start(node, "web", { anycast: ANYCAST })
  pod.set({ ready: true })
  await until("it is announced", async () => (await node.routes(201)).length === 2)
  const [link = ""] = (await node.links()).filter((name) => name.startsWith("flock"))
  const { allocations } = await node.status()
  return { pod, link, v4: allocations[0]?.ipv4 ?? "", v6: allocations[0]?.ipv6 ?? "" }
}

/** What a pod has lost with its interface, as its own root puts it back. */
const mendInside = async (netns: string) => {
  const { allocations } = await node.status()
  const [one] = allocations
  for (
    const words of [
      `-6 address replace ${one?.ipv6}/128 dev eth0 nodad`,
      "-6 route replace fe80::1 dev eth0",
      "-6 route replace default via fe80::1 dev eth0",
      "route replace default via 10.77.0.1 dev eth0 onlink"
    ]
  ) await inside(netns, "ip", ...words.split(" "))
}

/** Metrics are rendered once a second, so they are waited for. */
const unreachable = (reason: string, count = 1) =>
  new RegExp(`flock_unreachable_attachments\\{reason="${reason}"\\} ${count}`)

describe("a pod that cannot be reached is not announced", () => {
  it("while it has set its interface down", async () => {
    const { pod } = await withAnycast()
    const monitor = await RouteMonitor.open(world, node.netns)
    for (let round = 0; round < 2; round++) {
      const since = now()
      await inside(pod.netns, "ip", "link", "set", "eth0", "down")
      await until("withdrawn", async () => (await node.routes(201)).length === 0, 1)
      for (const address of ANYCAST) assert.isBelow((monitor.last(address, since)?.at ?? Infinity) - since, 500)
      const why = await node.tool("why", ANYCAST[0])
      assert.include(why.stdout, "has set its interface down")
      assert.strictEqual(why.code, 1)
      await until("it is counted", async () => unreachable("link-down").test(await node.metrics()), 3)
      // What went with the interface does not come back with it.
      await inside(pod.netns, "ip", "link", "set", "eth0", "up")
      await until("why says so", async () => (await node.tool("why", ANYCAST[0])).stdout.includes("its own network"), 2)
      assert.deepStrictEqual(await node.routes(201), [])
      await until("it is counted as that", async () => unreachable("pod").test(await node.metrics()), 3)
      await mendInside(pod.netns)
      await until("announced again", async () => (await node.routes(201)).length === 2, 10)
    }
    assert.notInclude(node.readLog(), "something else had changed")
  })

  it("also where it was down when the agent started", async () => {
    const { pod } = await withAnycast()
    await node.stop()
    await inside(pod.netns, "ip", "link", "set", "eth0", "down")
    await node.start()
    await until("withdrawn", async () => (await node.routes(201)).length === 0, 3)
    await inside(pod.netns, "ip", "link", "set", "eth0", "up")
    await mendInside(pod.netns)
    await until("announced again", async () => (await node.routes(201)).length === 2, 10)
  })

  it(
    "while it has taken its own network apart, in the families and addresses that suffer; nobody else's stack is judged",
    async () => {
      node.writeNodeConfig({ ...DUAL, anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] } })
      const v6 = (i: number) => `2001:db8:a::${i}`
      const v4 = (i: number) => `192.0.2.${i}`
      const open = async (name: string, i: number) => {
        const pod = await Pod.start(node, name, { anycast: [v6(i), v4(i)] })
        pod.set({ ready: true })
        return pod
      }
      const both = (i: number) => [v6(i), v4(i)]
      /** Name, command in the pod, what of its two is announced then. */
      const cases = [
        ["flushed", "ip address flush dev eth0", () => []],
        ["deaf6", "ip -6 route del default", (i: number) => [v4(i)]],
        ["deaf4", "ip route del default", (i: number) => [v6(i)]],
        [
          "address6",
          "ip address del $(ip -6 -br addr show dev eth0 scope global | awk '{print $3}') dev eth0",
          (i: number) => [v4(i)]
        ],
        ["anycast", "ip address del 192.0.2.5/32 dev lo", (i: number) => [v6(i)]],
        [
          "other way",
          "ip link add wg0 type bridge; ip link set wg0 up; ip route replace default dev wg0; ip -6 route replace default dev wg0",
          both
        ],
        ["moved", "ip address add 192.0.2.7/32 dev eth0; ip address del 192.0.2.7/32 dev lo", both],
        [
          "bridge",
          "ip link add br0 type bridge; ip link set br0 up; ip address flush dev eth0; ip link set eth0 master br0",
          both
        ],
        [
          "renamed",
          "ip link set eth0 down; ip link set eth0 name old; ip address flush dev old; ip link set old up",
          both
        ]
      ] as const
      // As gVisor does before the pod is Ready: its own stack answers, whatever the kernel has.
      const early = await Pod.start(node, "early", { anycast: [v6(99), v4(99)] })
      await inside(early.netns, "ip", "address", "flush", "dev", "eth0")
      early.set({ ready: true })
      // As the plugin sbr does, chained after flock: default routes are in another table.
      const sourced = await Pod.start(node, "sourced", { anycast: [v6(98), v4(98)] })
      await inside(
        sourced.netns,
        "sh",
        "-c",
        "ip route add default via 10.77.0.1 dev eth0 onlink table 100; ip rule add from all lookup 100 pref 100; " +
          "ip route del default; ip -6 route add default via fe80::1 dev eth0 table 100; " +
          "ip -6 rule add from all lookup 100 pref 100; ip -6 route del default"
      )
      sourced.set({ ready: true })
      const pods: Array<Pod> = []
      for (const [i, [name]] of cases.entries()) pods.push(await open(name.replace(" ", "-"), i + 1))
      const announced = async () => (await node.routes(201)).map((line) => line.split(" ")[0] ?? "").toSorted()
      const all = [...cases.flatMap((_, i) => both(i + 1)), ...both(98), ...both(99)].toSorted()
      await until("all are announced", async () => (await announced()).join() === all.join())
      // They have been looked into once when they were Ready.
      await sleep(16_000)
      assert.deepStrictEqual(await announced(), all)
      for (const [i, [, command]] of cases.entries()) await inside(pods[i]?.netns ?? "", "sh", "-c", command)
      const left = [...cases.flatMap(([, , left], i) => left(i + 1)), ...both(98), ...both(99)].toSorted()
      await until("what suffers is withdrawn", async () => (await announced()).join() === left.join(), 25)
      await sleep(3000)
      assert.deepStrictEqual(await announced(), left)
      assert.include(
        (await node.tool("why", v4(5))).stdout,
        "has changed its own network: anycast address 192.0.2.5 is missing"
      )
      assert.include(
        (await node.tool("why", v6(2))).stdout,
        "has changed its own network: it has no IPv6 default route"
      )
      assert.include(node.readLog(), "pod default/flushed has changed its own network and is not announced: address ")
      // The node is as it was made.
      assert.match(await node.metrics("/readyz"), /^ok/)
      assert.notInclude((await node.tool("doctor", "--json")).stdout, "not-as-built")
      await until("five are counted", async () => unreachable("pod", 5).test(await node.metrics()), 3)
      assert.match(await node.metrics(), /flock_unreachable_attachments\{reason="cut"\} 0/)
      await inside(pods[4]?.netns ?? "", "ip", "address", "add", v4(5), "dev", "lo")
      await until("announced again", async () => (await announced()).includes(v4(5)), 20)
    },
    120_000
  )

  it("in the family whose packets somebody else's route takes away, until that is gone", async () => {
    const { v4, v6 } = await withAnycast()
    const takes = [
      [`ip route add ${v4}/32 dev lo`, `ip route del ${v4}/32 dev lo metric 0`, 0, v4],
      [
        `ip address add ${v4}/32 dev lo`,
        `ip address del ${v4}/32 dev lo`,
        0,
        v4
      ],
      [`ip route add unreachable ${v4}/32`, `ip route del unreachable ${v4}/32`, 0, v4],
      [
        `ip -6 route add ${v6}/128 dev lo metric 1`,
        `ip -6 route del ${v6}/128 dev lo metric 1`,
        1,
        v6
      ]
    ] as const
    for (const [take, giveBack, family, address] of takes) {
      await sabotage(take)
      const other = ANYCAST[0]
      const gone = family === 0 ? ANYCAST[1] : other
      const kept = family === 0 ? other : ANYCAST[1]
      await until(`withdrawn after ${take}`, async () => {
        const routes = (await node.routes(201)).join()
        return !routes.includes(gone) && routes.includes(kept)
      }, 2)
      const why = await node.tool("why", gone)
      assert.include(why.stdout, `the host sends what is for ${address} elsewhere`)
      await until("it is counted", async () => unreachable("cut").test(await node.metrics()), 3)
      assert.include(node.readLog(), "a pod cannot be reached and is not announced")
      assert.match(await node.metrics("/readyz"), /^ok/)
      await sabotage(giveBack)
      await until(`announced again after ${giveBack}`, async () => (await node.routes(201)).length === 2, 5)
    }
  })
})
