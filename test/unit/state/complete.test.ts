/** What an agent without records believes of pods' annotations: what an ADD would give today, and no more. */
import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import type { Allocation } from "../../../src/domain/Allocation.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED, occupiedBy } from "../../../src/domain/occupied.ts"
import { completeAll, type Evidence } from "../../../src/state/complete.ts"
import { addresses, allocation, nodeConfig } from "../fixtures.ts"

const { spec } = nodeConfig({
  cidr6: "2001:db8:1::/64",
  cidr4: "10.42.1.0/24",
  anycast: {
    allowedCIDRs: ["192.0.2.0/24"],
    grants: [{ cidr: "192.0.2.128/25", namespaces: ["shop"] }],
    maxPerPod: 3,
    maxPerNamespace: 4,
    maxPerNode: 6
  }
})
const ground = { spec, occupied: NOTHING_OCCUPIED }

const rebuilt = (n: number, namespace: string, anycast: ReadonlyArray<string> = [], ipv4 = `10.42.1.${n + 1}`) =>
  allocation({
    containerId: `c${n}`,
    pod: { namespace, name: `p${n}`, uid: "" },
    addresses: addresses({ ipv6: address(`2001:db8:1::${n}`), ipv4: address(ipv4), anycast: anycast.map(address) })
  })

/** `found`: on the pod's interfaces; default: all that it asks for, as its root can have it. */
const asks = ({ pod }: Allocation, anycast: string, found = anycast): Option.Option<Evidence> =>
  Option.some({
    pod: { ...pod, uid: `u-${pod.name}`, ready: true, deleting: false, annotations: { anycast } },
    addresses: found.split(",").filter((it) => it !== "").map(address)
  })

const texts = ({ addresses }: Allocation) => addresses.anycast.map(formatAddress)

describe("completeAll", () => {
  it("gives nothing of another namespace's, and says what it left out in one line a pod", () => {
    const [thief, shop] = [rebuilt(1, "other"), rebuilt(2, "shop")]
    const { left, rebuild } = completeAll([], [thief, shop], [
      asks(thief, "192.0.2.129,192.0.2.1"),
      asks(shop, "192.0.2.129")
    ], ground)
    assert.deepStrictEqual(rebuild.map(texts), [["192.0.2.1"], ["192.0.2.129"]])
    assert.deepStrictEqual(left, [
      "pod other/p1: annotation anycast is not believed as a whole: 192.0.2.129 lies in 192.0.2.128/25, which " +
      "spec.anycast.grants gives to other namespaces than \"other\""
    ])
  })

  it("gives nothing that is only in the annotation: no ADD put it on the pod's lo", () => {
    const pod = rebuilt(1, "a")
    const { left, rebuild } = completeAll([], [pod], [asks(pod, "192.0.2.1,192.0.2.2", "10.42.1.2,192.0.2.1")], ground)
    assert.deepStrictEqual(rebuild.map(texts), [["192.0.2.1"]])
    assert.match(left[0] ?? "", /192\.0\.2\.2 is not on the pod's lo: the annotation was edited since$/)
  })

  it("never gives what another pod has as its own: recorded, rebuilt, or chosen", () => {
    const recorded = rebuilt(1, "a", [], "192.0.2.1")
    const [victim, thief] = [rebuilt(2, "b", [], "192.0.2.2"), rebuilt(3, "c")]
    const { rebuild } = completeAll([recorded], [thief, victim], [
      asks(thief, "192.0.2.1,192.0.2.2,192.0.2.3"),
      Option.none()
    ], ground)
    assert.deepStrictEqual(rebuild.map(texts), [["192.0.2.3"], []])
  })

  it("holds to the limits, counting recorded ones and what the pods before it got", () => {
    const recorded = rebuilt(1, "a", ["192.0.2.1"])
    const [x, y, z] = [rebuilt(2, "a", ["192.0.2.2"]), rebuilt(3, "a"), rebuilt(4, "b")]
    const { left, rebuild } = completeAll([recorded], [x, y, z], [
      asks(x, "192.0.2.2,192.0.2.3,192.0.2.4,192.0.2.5"),
      asks(y, "192.0.2.5,192.0.2.1"),
      asks(z, "192.0.2.10,192.0.2.11,192.0.2.12")
    ], ground)
    assert.deepStrictEqual(rebuild.map(texts), [
      ["192.0.2.2", "192.0.2.3", "192.0.2.4"],
      ["192.0.2.1"],
      ["192.0.2.10", "192.0.2.11"]
    ])
    assert.deepStrictEqual(left.map((line) => /max\w+ is \d/.exec(line)?.[0]), [
      "maxPerPod is 3",
      "maxPerNamespace is 4",
      "maxPerNode is 6"
    ])
  })

  it("keeps what the kernel says, limits or not: an agent that had records gave it", () => {
    const many = rebuilt(1, "other", ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.200"])
    assert.deepStrictEqual(completeAll([], [many], [Option.none()], ground).rebuild, [many])
  })

  it("announces a primary address beside the node's prefixes only if an ADD would", () => {
    const chosen = (n: number, namespace: string, ipv4: string) => {
      const it = rebuilt(n, namespace, [], ipv4)
      return { ...it, addresses: { ...it.addresses, chosen: [address(ipv4)] } }
    }
    const all = [chosen(1, "other", "192.0.2.1"), chosen(2, "other", "192.0.2.200"), chosen(3, "other", "10.9.9.9")]
    const { rebuild } = completeAll([], all, all.map(() => Option.none()), ground)
    assert.deepStrictEqual(rebuild.map((it) => it.addresses.chosen.map(formatAddress)), [["192.0.2.1"], [], []])
    // Theirs all the same.
    assert.deepStrictEqual(rebuild.map((it) => it.addresses.ipv4), all.map((it) => it.addresses.ipv4))
  })

  it("gives nothing that the node itself uses", () => {
    const pod = rebuilt(1, "a")
    const occupied = occupiedBy({
      gateways: [address("192.0.2.3")],
      routes: [],
      found: [],
      learned: [],
      addresses: [{ address: address("192.0.2.17"), prefix: 28, ifName: "eth0", up: true }]
    }, spec)
    const { rebuild } = completeAll([], [pod], [asks(pod, "192.0.2.3,192.0.2.17,192.0.2.18,192.0.2.33")], {
      spec,
      occupied
    })
    assert.deepStrictEqual(rebuild.map(texts), [["192.0.2.33"]])
  })
})
