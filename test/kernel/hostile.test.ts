/** A pod whose processes may send what they like: the node's routes, neighbours, addresses do not change. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { setTimeout as sleep } from "node:timers/promises"
import { Attachments } from "../../src/attachments/Attachments.ts"
import { layerTest as kubeTest } from "../../src/kube/KubeApiTest.ts"
import { HOST_IPV6 } from "../../src/netlink/hostSettings.ts"
import { Netlink } from "../../src/netlink/Netlink.ts"
import { layerTest as allocationsTest } from "../../src/state/AllocationsTest.ts"
import { inside, ip, ipJson, linkName, makeLab, NODE4, NODE6, ping, planOf, readSysctl, sysctl } from "./lab.ts"
import {
  arp,
  detectDuplicate,
  neighbourAdvertisement,
  openRaw,
  type Packet,
  redirect4,
  redirect6,
  routerAdvertisement,
  sourceOf,
  sourceRouted,
  udp
} from "./packets.ts"

const ATTACKER = 5
const VICTIM = 6
const OURS = "fe80::66"

/** Routes, addresses and permanent neighbours of the node, without counters and lifetimes. */
const ground = (host: string) => ({
  routes: [ip(host, "route", "show", "table", "all"), ip(host, "-6", "route", "show", "table", "all")].map((text) =>
    text.replaceAll(/ expires \d+sec/g, "").split("\n").toSorted()
  ),
  addresses: ip(host, "-o", "addr").split("\n").map((line) => line.replace(/valid_lft.*/, "").trim()).toSorted(),
  neighbours: ipJson(host, "neigh", "show", "nud", "permanent").map(({ dev, dst, lladdr }) => `${dev} ${dst} ${lladdr}`)
    .toSorted()
})

/** Everything that a host believes of a neighbour or a router. */
const attack = (pod: string) => {
  const link = openRaw(pod, "eth0")
  const send = (...[what, options]: Parameters<typeof link.send>) => link.send(what, options)
  for (const from of [OURS, "2001:db8:1::5", "fe80::1"]) {
    for (const [prefix, length] of [["2001:db8:1::6", 128], ["2001:db8:66::", 64], ["2001:db8:a::1", 128]] as const) {
      send(routerAdvertisement(from, prefix, length), { everybody: true })
    }
    for (const target of ["2001:db8:1::6", "2001:db8:ffff::1"]) {
      send(redirect6(from, "fe80::1", target, OURS))
      send(redirect6(from, NODE6, target, OURS))
    }
  }
  for (const target of ["10.42.1.6", "203.0.113.9"]) {
    for (const from of ["10.42.1.5", "10.42.1.1", NODE4]) send(redirect4(from, NODE4, target, "10.42.1.5"))
  }
  for (const claimed of ["10.42.1.6", "10.42.1.1", NODE4]) {
    send(arp(2, claimed, "10.42.1.1"), { everybody: true })
    send(arp(2, claimed, claimed), { everybody: true })
    send(arp(1, claimed, "10.42.1.1"), { everybody: true })
  }
  for (const claimed of ["2001:db8:1::6", "fe80::1", NODE6]) {
    send(neighbourAdvertisement(OURS, "ff02::1", claimed), { everybody: true })
    send(neighbourAdvertisement(OURS, "fe80::1", claimed))
    send(detectDuplicate(claimed), { everybody: true })
  }
  link.close()
}

const settled = Effect.promise(() => sleep(300))

describe("a hostile pod", () => {
  for (const inherited of ["1", "2"]) {
    it.live(`changes nothing on the node, where conf/default/accept_ra is ${inherited}`, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        sysctl(host, "net/ipv6/conf/default/accept_ra", inherited)
        const [attacker, victim] = [pod(), pod()]
        yield* netlink.attach(planOf(attacker, ATTACKER))
        yield* netlink.attach(planOf(victim, VICTIM))
        const before = ground(host)
        attack(attacker)
        yield* settled
        assert.deepStrictEqual(ground(host), before)
        ping(host, "2001:db8:1::6")
        ping(host, "10.42.1.6")
      }).pipe(Effect.scoped))
  }

  it.live("a host end has its own settings before it is up, whatever conf/default says", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const conf = (name: string, value: string) => sysctl(host, `net/${name}`, value)
      for (const { name, value } of HOST_IPV6) conf(`ipv6/conf/default/${name}`, value === 0 ? "1" : "0")
      for (const name of ["accept_redirects", "send_redirects", "accept_source_route", "accept_local", "arp_accept"]) {
        conf(`ipv4/conf/default/${name}`, "1")
      }
      conf("ipv4/conf/default/route_localnet", "1")
      const plan = planOf(pod(), ATTACKER)
      yield* netlink.attach(plan)
      for (const { name, value } of HOST_IPV6) {
        assert.strictEqual(readSysctl(host, `net/ipv6/conf/${plan.hostIfName}/${name}`), String(value), name)
      }
      for (
        const name of [
          "accept_redirects",
          "send_redirects",
          "accept_source_route",
          "accept_local",
          "arp_accept",
          "route_localnet",
          "rp_filter",
          "secure_redirects",
          "bootp_relay"
        ]
      ) assert.strictEqual(readSysctl(host, `net/ipv4/conf/${plan.hostIfName}/${name}`), "0", name)
      // The kernel sends redirects where `all` or the link says so.
      assert.strictEqual(readSysctl(host, "net/ipv4/conf/all/send_redirects"), "0")
      assert.strictEqual(readSysctl(host, "net/ipv4/conf/lo/send_redirects"), "1")
    }).pipe(Effect.scoped))

  it.live("a link that an older agent made, and what it learned, is put right at start", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const [attacker, victim] = [pod(), pod()]
      const plan = planOf(attacker, ATTACKER)
      yield* netlink.attach(plan)
      yield* netlink.attach(planOf(victim, VICTIM))
      const before = ground(host)
      for (const [name, value] of [["accept_ra", "2"], ["autoconf", "1"], ["accept_ra_rt_info_max_plen", "128"]]) {
        sysctl(host, `net/ipv6/conf/${plan.hostIfName}/${name}`, value ?? "")
      }
      sysctl(host, `net/ipv4/conf/${plan.hostIfName}/accept_redirects`, "1")
      attack(attacker)
      yield* settled
      const taken = ip(host, "-6", "route")
      assert.match(taken, new RegExp(`default .*dev ${plan.hostIfName} proto ra`))
      assert.match(taken, new RegExp(`2001:db8:1::6 dev ${plan.hostIfName} proto kernel`))
      assert.deepStrictEqual((yield* netlink.prepareHost).problems, [])
      assert.strictEqual(readSysctl(host, `net/ipv6/conf/${plan.hostIfName}/accept_ra`), "0")
      assert.strictEqual(readSysctl(host, `net/ipv4/conf/${plan.hostIfName}/accept_redirects`), "0")
      assert.deepStrictEqual(ground(host), before)
      attack(attacker)
      yield* settled
      assert.deepStrictEqual(ground(host), before)
    }).pipe(Effect.scoped))

  it.live("source routes are not followed, in either family", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      for (const where of ["all", "default"]) {
        sysctl(host, `net/ipv4/conf/${where}/accept_source_route`, "1")
        sysctl(host, `net/ipv6/conf/${where}/accept_source_route`, "1")
        sysctl(host, `net/ipv6/conf/${where}/seg6_enabled`, "1")
      }
      const [attacker, victim] = [pod(), pod()]
      yield* netlink.attach(planOf(attacker, ATTACKER))
      yield* netlink.attach(planOf(victim, VICTIM))
      const [from, to] = [openRaw(attacker, "eth0"), openRaw(victim, "eth0")]
      from.send(sourceRouted("10.42.1.5", NODE4, "10.42.1.6"))
      for (const type of [0, 2, 4]) from.send(sourceRouted("2001:db8:1::5", NODE6, "2001:db8:1::6", type))
      // What is sent last and arrives shows that the others would have.
      from.send(udp("10.42.1.5", "10.42.1.6", 53, "straight"))
      yield* settled
      const theirs = ({ family, bytes }: Packet) => ["10.42.1.5", "2001:db8:1::5"].includes(sourceOf({ family, bytes }))
      const heard = to.heard().filter(theirs)
      assert.deepStrictEqual(heard.map(({ bytes, family }) => [family, Buffer.from(bytes).includes("straight")]), [
        [4, true]
      ])
      // The packet is one that the kernel would follow.
      sysctl(host, `net/ipv4/conf/${linkName(ATTACKER)}/accept_source_route`, "1")
      from.send(sourceRouted("10.42.1.5", NODE4, "10.42.1.6"))
      yield* settled
      assert.strictEqual(to.heard().filter(theirs).length, 1)
      from.close()
      to.close()
    }).pipe(Effect.scoped))

  it.live("a router is heard on uplinks by name, those that come later too, and never on what leads into containers", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const keeping = Attachments.layer.pipe(
        Layer.provide(Layer.mergeAll(Layer.succeed(Netlink, netlink), kubeTest(), allocationsTest()))
      )
      const keeper = yield* Effect.flatMap(Attachments, ({ run }) => run).pipe(
        Effect.provide(keeping),
        Effect.forkChild
      )
      const other = pod()
      const acceptRa = (name: string) => readSysctl(host, `net/ipv6/conf/${name}/accept_ra`)
      yield* settled
      ip(host, "link", "add", "up0", "type", "bridge")
      ip(host, "link", "add", "cali0", "type", "veth", "peer", "name", "eth0", "netns", other)
      yield* Effect.promise(async () => {
        for (let i = 0; i < 50 && acceptRa("up0") !== "2"; i++) await sleep(20)
      })
      assert.strictEqual(acceptRa("up0"), "2")
      assert.strictEqual(acceptRa("cali0"), "1")
      yield* netlink.attach(planOf(pod(), ATTACKER))
      yield* netlink.prepareHost
      assert.strictEqual(acceptRa(linkName(ATTACKER)), "0")
      assert.strictEqual(acceptRa("all"), "1")
      assert.strictEqual(acceptRa("default"), "1")
      // A node that is a container has a veth for an uplink: seen by what it learned from its router.
      sysctl(host, "net/ipv6/conf/cali0/accept_ra", "2")
      ip(host, "link", "set", "cali0", "up")
      inside(other, "ip", "link", "set", "eth0", "up")
      yield* settled
      const router = openRaw(other, "eth0")
      router.send(routerAdvertisement("fe80::99", "2001:db8:77::", 64), { everybody: true })
      router.close()
      yield* settled
      assert.match(ip(host, "-6", "route"), /default via fe80::99 dev cali0 proto ra/)
      sysctl(host, "net/ipv6/conf/cali0/accept_ra", "1")
      yield* netlink.prepareHost
      assert.strictEqual(acceptRa("cali0"), "2")
      assert.match(ip(host, "-6", "route"), /default via fe80::99 dev cali0 proto ra/)
      yield* Fiber.interrupt(keeper)
    }).pipe(Effect.scoped))
})
