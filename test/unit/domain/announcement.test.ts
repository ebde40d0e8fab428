import { assert, describe, it } from "@effect/vitest"
import {
  type Ask,
  GATES,
  heldBy,
  mayAnnounce,
  mayHave,
  neverAnnounced,
  type No,
  permission,
  type PodCache,
  type Rules,
  words
} from "../../../src/domain/announcement.ts"
import { address } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import { addresses, addresses6, allocation, nodeConfig } from "../fixtures.ts"

const CIDRS = { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24" }
const { spec } = nodeConfig({ ...CIDRS, anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] } })
const open = nodeConfig({ ...CIDRS, anycast: { allowedCIDRs: ["::/0", "0.0.0.0/0"] } }).spec

const other = allocation({
  pod: { namespace: "shop", name: "dns", uid: "" },
  addresses: addresses({ ipv6: address("2001:db8:a::50"), anycast: [address("2001:db8:a::53")] })
})
const runtime = allocation({ pod: { namespace: "", name: "", uid: "" }, containerId: "c9" })

const ask = (text: string, over: Partial<Ask> = {}): Ask => ({
  address: address(text),
  kind: "anycast",
  namespace: "default",
  spec,
  occupied: NOTHING_OCCUPIED,
  families: [6, 4],
  anycast: [],
  holders: heldBy([other, runtime]),
  ...over
})

describe("mayHave", () => {
  it.each<[string, Ask, No["_tag"], RegExp]>([
    ["special, though allowed", ask("ff02::1", { spec: open }), "SpecialUse", /^is multicast \(RFC 4291\); it must/],
    ["nothing allowed", ask("2001:db8:a::1", { spec: nodeConfig().spec }), "NotAllowed", /which is empty: nothing is/],
    ["outside", ask("192.0.3.1"), "NotAllowed", /allowedCIDRs, 2001:db8:a::\/64, 192\.0\.2\.0\/24$/],
    ["the gateway", ask("10.42.1.1", { spec: open }), "Reserved", /^is the gateway's address of this node; choose/],
    ["another pod's own", ask("2001:db8:a::50"), "InUse", /^is in use by shop\/dns as its primary address; choose/],
    ["a container's own", ask("2001:db8:1::a", { spec: open }), "InUse", /^is in use by c9 as its primary address/],
    ["another's anycast", ask("2001:db8:a::53", { kind: "chosen" }), "InUse", /by shop\/dns as its anycast address/],
    ["no family", ask("192.0.2.1", { families: [6] }), "NoFamily", /^has no IPv4 address to reach it by$/],
    ["no family, chosen", ask("192.0.2.1", { families: [6], kind: "chosen" }), "NoFamily", /^has no IPv4/],
    [
      "twice",
      ask("192.0.2.1", { kind: "chosen", anycast: [address("192.0.2.1")] }),
      "ListedTwice",
      /^is listed in anycast too; keep it in one of the two$/
    ],
    // What the operator forbids is said before what others hold: it tells a tenant less, and is mended elsewhere.
    ["forbidden and in use", ask("2001:db8:a::50", { spec: nodeConfig().spec }), "NotAllowed", /empty/],
    ["in use and no family", ask("2001:db8:a::50", { families: [4] }), "InUse", /shop\/dns/]
  ])("no: %s", (_, it, tag, message) => {
    const no = mayHave(it)
    assert.strictEqual(no?._tag, tag)
    assert.match(no === undefined ? "" : words(no), message)
  })

  it.each<[string, Ask]>([
    ["anycast that another pod has too", ask("2001:db8:a::53")],
    ["anycast of its own list", ask("192.0.2.1", { anycast: [address("192.0.2.1")] })],
    ["a chosen address that is free", ask("192.0.2.1", { kind: "chosen" })],
    ["one of the node's prefix", ask("10.42.1.77", { kind: "chosen", spec: open })]
  ])("yes: %s", (_, it) => assert.isUndefined(mayHave(it)))

  it("is permission first, and never what has a special use", () => {
    assert.strictEqual(permission(address("192.0.3.1"), ask("192.0.3.1"))?._tag, "NotAllowed")
    assert.isUndefined(permission(address("192.0.2.1"), ask("192.0.2.1")))
    assert.isUndefined(neverAnnounced(address("192.0.3.1")))
    assert.strictEqual(neverAnnounced(address("169.254.1.1"))?._tag, "SpecialUse")
  })
})

describe("mayAnnounce", () => {
  const V6 = "2001:db8:a::1"
  const mine = allocation({ addresses: addresses6({ anycast: [address(V6), address("192.0.2.1")] }) })
  const pod = (over: Partial<PodInfo> = {}): PodInfo => ({
    namespace: "default",
    name: "web",
    uid: "u1",
    ready: true,
    deleting: false,
    annotations: {},
    ...over
  })
  const cache = (found: PodInfo | undefined, synced = true): PodCache & Rules => ({
    spec: undefined,
    occupied: NOTHING_OCCUPIED,
    pods: new Map(found === undefined ? [] : [["default/web", found]]),
    synced,
    unreachable: new Map()
  })
  it.each<[string, string, PodCache & Rules, typeof GATES[number], RegExp]>([
    ["Ready", V6, cache(pod()), "Ready", /^$/],
    ["Ready before the list is complete", V6, cache(pod(), false), "Ready", /^$/],
    ["not Ready", V6, cache(pod({ ready: false })), "NotReady", /^is not Ready$/],
    ["deleting, Ready or not", V6, cache(pod({ deleting: true })), "Deleting", /^is being deleted$/],
    ["deleting, Ready or not", V6, cache(pod({ deleting: true, ready: false })), "Deleting", /deleted/],
    ["ended, though Ready", V6, cache(pod({ ended: "Failed" })), "Ended", /^has ended/],
    ["ended and being deleted", V6, cache(pod({ ended: "Succeeded", deleting: true })), "Ended", /^has ended/],
    ["gone", V6, cache(undefined), "NoPod", /^does not exist/],
    ["not listed yet", V6, cache(undefined, false), "Unknown", /^is not known yet/],
    ["another of the name", V6, cache(pod({ uid: "u2" })), "OtherPod", /^is another pod now/],
    ["another of the name, before the list is complete", V6, cache(pod({ uid: "u2" }), false), "Unknown", /not known/],
    ["without a UID", V6, cache(pod({ uid: "" })), "Ready", /^$/],
    ["without the family", "192.0.2.1", cache(pod()), "NoFamily", /^has no IPv4 address/]
  ])("%s", (_, text, cache, gate, message) => {
    const no = mayAnnounce(address(text), mine, cache)
    assert.strictEqual(no?._tag ?? "Ready", gate)
    assert.match(no === undefined ? "" : words(no), message)
  })
})
