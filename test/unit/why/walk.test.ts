import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type { Allocation } from "../../../src/domain/Allocation.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import { decode } from "../../../src/domain/NodeConfig.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import { type PodInfo, podKey } from "../../../src/domain/Pod.ts"
import { render } from "../../../src/why/render.ts"
import type { Snapshot } from "../../../src/why/snapshot.ts"
import { walk } from "../../../src/why/walk.ts"
import { allocation, idleBird, linkOf, pod, route } from "../anycast/fakes.ts"

const V6 = "2001:db8:a::1"

const spec = Result.getOrThrow(decode("host001", {
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: { name: "host001" },
  spec: {
    cidr6: "2001:db8:1::/64",
    cidr4: "10.42.1.0/24",
    anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] },
    bgp: { asn: 65001, peers: [{ address: "2001:db8:ffff::1", asn: 65000 }] }
  }
})).spec

const peer = {
  address: "2001:db8:ffff::1",
  asn: 65000,
  protocol: "peer1",
  state: "Established",
  since: "",
  lastError: "",
  ipv6: { announced: 2, learned: 0 },
  ipv4: { announced: 1, learned: 0 }
}

const podRoute = (text: string, n: number) => ({ ...route(text, [100 + n]), protocol: 200 })

const link = (n: number, up = true) => ({
  ifName: linkOf(n),
  ifIndex: 100 + n,
  alias: "",
  mtu: 1500,
  mac: "",
  up
})

const kernel = {
  podRoutes: [podRoute("2001:db8:1::1", 1), podRoute("10.42.1.2", 1)],
  exportRoutes: [route(V6, [101, "2001:db8:1::1"])],
  links: [link(1)]
}

/** Everything in order: pod web-1 is Ready and its address announced. */
const good: Snapshot = {
  node: "host001",
  spec,
  occupied: NOTHING_OCCUPIED,
  allocations: [allocation(1, { anycast: [V6] })],
  pods: new Map([["default/web-1", pod(1)]]),
  podsListed: true,
  unreachable: new Map(),
  kernel,
  bird: { ...idleBird, peers: [peer] },
  exportSet: [address(V6)],
  mayExport: true,
  exportedTo: ["peer1"]
}

const pods = (...list: ReadonlyArray<PodInfo>) => ({ pods: new Map(list.map((p) => [podKey(p), p])) })
const asking = (annotations: Readonly<Record<string, string>>) => pods(pod(1, { annotations }))
const holding = (...allocations: ReadonlyArray<Allocation>) => ({ allocations })

const why = (changes: Partial<Snapshot>, text = V6) => walk(address(text), { ...good, ...changes })

describe("why", () => {
  it("says to whom an anycast address is announced, with every step passed", () => {
    const report = why({})
    assert.isTrue(report.announced)
    assert.strictEqual(report.answer, `${V6} is announced: to 2001:db8:ffff::1 (AS65000)`)
    assert.deepStrictEqual(report.steps.map(({ ok, step }) => [step, ok]), [
      ["address", true],
      ["allocated", true],
      ["allowed", true],
      ["family", true],
      ["ready", true],
      ["deleting", true],
      ["link", true],
      ["pod-route", true],
      ["kernel-route", true],
      ["export-set", true],
      ["bird", true],
      ["session", true],
      ["announced", true],
      ["router", "skipped"]
    ])
    assert.include(report.steps.at(-1)?.detail, `only that router knows. There: "show bgp ipv6 unicast ${V6}/128"`)
  })

  const noRoute = { kernel: { ...kernel, exportRoutes: [] }, exportedTo: [] }

  for (
    const [name, changes, text, step, words] of [
      ["nobody's address", {}, "2001:db8:a::99", "allocated", "no pod on node host001 holds it or asks for it"],
      ["a free address of the node's prefix", {}, "2001:db8:1::99", "allocated", "2001:db8:1::/64"],
      ["no NodeConfig", { spec: undefined }, V6, "config", "no NodeConfig"],
      [
        "refused",
        asking({ anycast: " 198.51.100.1 " }),
        "198.51.100.1",
        "allowed",
        "pod default/web-1 asks for it (annotation anycast) and was refused: it is not in this node's " +
        "spec.anycast.allowedCIDRs, 2001:db8:a::/64, 192.0.2.0/24"
      ],
      ["multicast", asking({ anycast: "ff02::1" }), "ff02::1", "allowed", "was refused: it is multicast (RFC 4291)"],
      [
        "another pod's anycast",
        { ...asking({ addresses: V6 }), ...holding(allocation(2, { anycast: [V6] })), ...noRoute },
        V6,
        "ready",
        "pod default/web-2 does not exist (any more)"
      ],
      [
        "a family that the pod lacks",
        { ...asking({ anycast: `192.0.2.1,${V6}` }), ...holding(allocation(1, { anycast: [V6], ipv4: null })) },
        "192.0.2.1",
        "family",
        "pod default/web-1 has no IPv4 address to reach it by, only 2001:db8:1::1"
      ],
      ["asked for too late", asking({ addresses: "192.0.2.1" }), "192.0.2.1", "allocated", "when the pod starts"],
      [
        "asked for by a pod without network",
        { ...asking({ anycast: V6 }), ...holding() },
        V6,
        "allocated",
        "has no network of flock's"
      ],
      [
        "asked for by a pod that is refused for another address",
        { ...asking({ anycast: `${V6},198.51.100.1` }), ...holding() },
        V6,
        "allocated",
        "was refused as a whole: annotation anycast: 198.51.100.1 is not in this node's spec.anycast.allowedCIDRs"
      ],
      [
        "asked for by a pod whose range is not the node's",
        { ...asking({ anycast: V6, cidr4: "192.168.0.0/24" }), ...holding() },
        V6,
        "allocated",
        "was refused as a whole: annotation cidr4: 192.168.0.0/24 does not overlap"
      ],
      ["not Ready", { ...pods(pod(1, { ready: false })), ...noRoute }, V6, "ready", "pod default/web-1 is not Ready"],
      ["ended", { ...pods(pod(1, { ended: "Failed" })), ...noRoute }, V6, "ready", "has ended (phase"],
      ["pod gone", { ...pods(), ...noRoute }, V6, "ready", "does not exist"],
      ["pod replaced", { ...pods(pod(1, { uid: "new" })), ...noRoute }, V6, "ready", "another pod now"],
      ["pods unknown yet", { ...pods(), podsListed: false }, V6, "ready", "not listed since the agent started"],
      ["being deleted", { ...pods(pod(1, { deleting: true })), ...noRoute }, V6, "deleting", "is being deleted"],
      ["link gone", { kernel: { ...kernel, links: [] } }, V6, "link", `${linkOf(1)} is gone or down`],
      ["link down", { kernel: { ...kernel, links: [link(1, false)] } }, V6, "link", "gone or down"],
      ["pod's own route gone", { kernel: { ...kernel, podRoutes: [] } }, V6, "pod-route", "2001:db8:1::1"],
      ["route missing", noRoute, V6, "kernel-route", "no route of protocol 201"],
      [
        "route leads elsewhere",
        { kernel: { ...kernel, exportRoutes: [route(V6, [7])] } },
        V6,
        "kernel-route",
        "none of the serving pods' links"
      ],
      ["kernel not to be asked", { kernel: { error: "dump routes: EPERM" } }, V6, "link", "dump routes: EPERM"],
      [
        "not in the export set",
        { exportSet: [], mayExport: false },
        V6,
        "export-set",
        "no committed allocation has it"
      ],
      [
        "bird.conf rejected",
        {
          bird: { ...good.bird, stale: true, configError: "bird.conf:3:1 syntax error" },
          mayExport: false,
          exportedTo: []
        },
        V6,
        "export-set",
        "not in the one that BIRD runs: bird.conf:3:1 syntax error"
      ],
      [
        "the session of one family down",
        {
          bird: {
            ...good.bird,
            peers: [
              { ...peer, state: "Active", lastError: "Socket: No route to host" },
              { ...peer, address: "198.51.100.1", protocol: "peer2" }
            ]
          },
          exportedTo: []
        },
        V6,
        "announced",
        "no peer: not to 198.51.100.1 (AS65000); 2001:db8:ffff::1 (AS65000) is Active: Socket: No route to host"
      ],
      ["BIRD down", { bird: { ...good.bird, up: false, peers: [] } }, V6, "bird", "does not answer"],
      [
        "withdrawn by hand",
        { bird: { ...good.bird, drained: true }, exportedTo: [] },
        V6,
        "session",
        "flock-agent restore"
      ],
      ["--no-bird", { bird: { ...idleBird, enabled: false, up: false } }, V6, "bird", "--no-bird"],
      ["no peers", { bird: idleBird, exportedTo: [] }, V6, "session", "spec.bgp.peers is empty"],
      [
        "no session",
        { bird: { ...good.bird, peers: [{ ...peer, state: "Active", lastError: "Connection refused" }] } },
        V6,
        "session",
        "2001:db8:ffff::1 (AS65000) is Active: Connection refused"
      ],
      [
        "a peer that waits",
        { bird: { ...good.bird, peers: [{ ...peer, state: "Down", problem: "spec.bgp.peers[0].address: no end" }] } },
        V6,
        "session",
        "2001:db8:ffff::1 (AS65000) is Down: spec.bgp.peers[0].address: no end"
      ],
      ["not exported", { exportedTo: [] }, V6, "announced", "exports it to no peer"]
    ] as ReadonlyArray<readonly [string, Partial<Snapshot>, string, string, string]>
  ) {
    it(`${name}: stops at ${step}`, () => {
      const report = why(changes, text)
      const stop = report.steps.find(({ ok }) => ok === false)
      assert.strictEqual(stop?.step, step)
      assert.include(stop?.detail, words)
      assert.isFalse(report.announced)
      assert.strictEqual(report.answer, `${formatAddress(address(text))} is not announced: ${stop?.detail}`)
    })
  }

  it("skips what only follows from a pod that is not Ready", () => {
    const report = why({ ...pods(pod(1, { ready: false })), ...noRoute })
    assert.deepStrictEqual(report.steps.filter(({ ok }) => ok === false).map(({ step }) => step), ["ready"])
  })

  it("reports a route that is still there though the pod is not Ready", () => {
    const report = why(pods(pod(1, { ready: false })))
    assert.deepStrictEqual(report.steps.filter(({ ok }) => ok === false).map(({ step }) => step), [
      "ready",
      "kernel-route",
      "announced"
    ])
  })

  it("one Ready pod of two is enough, and both are named", () => {
    const two = holding(allocation(1, { anycast: [V6] }), allocation(2, { anycast: [V6] }))
    const report = why({ ...two, ...pods(pod(1), pod(2, { ready: false })) })
    assert.isTrue(report.announced)
    assert.include(report.steps.find(({ step }) => step === "ready")?.detail, "pod default/web-2 is not Ready")
  })

  it("a chosen address is announced by itself", () => {
    const report = why({
      ...holding(allocation(1, { chosen: [V6], ipv6: V6 })),
      kernel: { ...kernel, podRoutes: [podRoute(V6, 1)], exportRoutes: [route(V6, [101])] }
    })
    assert.deepStrictEqual([report.kind, report.announced], ["chosen", true])
  })

  it("a pod's own address is announced within the node's prefix, Ready or not", () => {
    const report = why(pods(pod(1, { ready: false })), "2001:db8:1::1")
    assert.deepStrictEqual([report.kind, report.announced], ["pod", true])
    assert.strictEqual(
      report.answer,
      "2001:db8:1::1 is announced: 2001:db8:1::/64, to 2001:db8:ffff::1 (AS65000)"
    )
  })

  it("a peer that waits for its Secret does not hide that others are told", () => {
    const report = why({ bird: { ...good.bird, stale: true, configError: "spec.bgp.peers[2]: no such Secret" } })
    assert.isTrue(report.announced)
    assert.include(report.steps.find(({ step }) => step === "bird")?.detail, "spec.bgp.peers[2]: no such Secret")
  })

  it("renders the answer first and one line a step", () => {
    assert.deepStrictEqual(render(why({ ...pods(pod(1, { ready: false })), ...noRoute })).split("\n").slice(0, 7), [
      `${V6} is not announced: pod default/web-1 is not Ready.`,
      "",
      "  ok     address       IPv6, an anycast address",
      "  ok     allocated     to pod default/web-1 (container1/eth0)",
      "  ok     allowed       it lies in spec.anycast.allowedCIDRs",
      "  ok     family        reached via the pod's IPv6 address",
      "  STOPS  ready         pod default/web-1 is not Ready"
    ])
  })

  it("survives JSON", () => {
    const report = why({})
    assert.deepStrictEqual(JSON.parse(JSON.stringify(report)), report)
  })

  it("says of a pod's own address that packets may go elsewhere where its prefix is another's too, and of no other", () => {
    const occupied = { ...NOTHING_OCCUPIED, conflicts: { 6: "spec.cidr6 2001:db8:1::/64 is another node's too" } }
    const own = why({ occupied }, "2001:db8:1::1")
    assert.isFalse(own.announced)
    assert.match(own.answer, /packets to it may go elsewhere: spec\.cidr6 2001:db8:1::\/64 is another node's too/)
    assert.isTrue(why({ occupied }, "10.42.1.2").announced)
    assert.isTrue(why({ occupied }).announced)
  })
})
