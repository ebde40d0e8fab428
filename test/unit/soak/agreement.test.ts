/** The audit must be able to fail: each way in which sources can differ, planted one by one, is found. */
import { assert, describe, it } from "@effect/vitest"
import { describeDisagreement, disagreements, type Facts, type NodeFacts, type Wanted } from "../../../lab/agreement.ts"

const MAC = "ee:ee:ee:ee:ee:ee"
const POD_MAC = "02:00:00:00:00:01"
const V6 = "2001:db8:100::a"
const V4 = "10.42.0.2"
const ANY6 = "2001:db8:a::1"
const ANY4 = "192.0.2.1"

const wanted: Wanted = {
  key: "c1/eth0",
  ifName: "eth0",
  addresses: [V6, V4],
  anycast: [ANY6, ANY4],
  follows: [ANY6, ANY4],
  ready: true
}

const route = (destination: string, protocol: string, dev: string, via?: string) => ({
  destination,
  protocol,
  hops: [{ dev, ...via !== undefined && { via } }]
})

const permanent = (dev: string, address: string, mac: string) => ({ dev, address, mac, permanent: true })

const pod = {
  links: [
    { name: "lo", alias: "", up: true, mac: "00:00:00:00:00:00" },
    { name: "eth0", alias: "", up: true, mac: POD_MAC }
  ],
  addresses: [
    { dev: "lo", address: "127.0.0.1" },
    { dev: "lo", address: ANY6 },
    { dev: "lo", address: ANY4 },
    { dev: "eth0", address: V6 },
    { dev: "eth0", address: V4 },
    { dev: "eth0", address: "fe80::5" }
  ],
  routes: [route("default", "200", "eth0", "fe80::1"), route("default", "200", "eth0", "10.42.0.1")],
  neighbours: [permanent("eth0", "fe80::1", MAC), permanent("eth0", "10.42.0.1", MAC)]
}

const link = { name: "flock0000000a", alias: "default/p1 c1 eth0", up: true, mac: MAC }

const node: NodeFacts = {
  name: "node1",
  wanted: [wanted],
  agent: [{ key: wanted.key, hostLink: link.name, addresses: [V4, V6], anycast: [ANY4, ANY6] }],
  announced: [ANY6, ANY4],
  sessions: [{ peer: "2001:db8:ffff::1", state: "Established" }],
  records: [{ key: wanted.key, hostLink: link.name, addresses: [V6, V4], anycast: [ANY6, ANY4] }],
  stray: [],
  kernel: {
    links: [{ name: "uplink", alias: "", up: true, mac: "02:00:00:00:00:09" }, link],
    addresses: [{ dev: link.name, address: "fe80::1" }],
    routes: [
      route(V6, "200", link.name),
      route(V4, "200", link.name),
      route(ANY6, "201", link.name, V6),
      route(ANY4, "201", link.name, V4),
      route("default", "static", "uplink", "198.51.100.1")
    ],
    neighbours: [permanent(link.name, V6, POD_MAC), permanent(link.name, V4, POD_MAC)]
  },
  pods: new Map([[wanted.key, pod]]),
  answers: [{ call: "STATUS", code: 0, message: "" }],
  process: { descriptors: 40, maxDescriptors: 60, namespaces: 1, maxNamespaces: 1, memory: 90_000, maxMemory: 200_000 },
  prefixes: ["2001:db8:100::/64", "10.42.0.0/24"],
  nextHops: ["2001:db8:ffff::11", "fe80::11", "198.51.100.11"]
}

const table = {
  name: "kernel",
  routes: new Map([
    ["2001:db8:100::/64", ["fe80::11"]],
    ["10.42.0.0/24", ["198.51.100.11"]],
    [ANY6, ["fe80::11"]],
    [ANY4, ["198.51.100.11"]]
  ])
}

const good: Facts = { nodes: [node], router: [table], sessions: [{ peer: "198.51.100.11", state: "Established" }] }

const on = (change: Partial<NodeFacts>): Facts => ({ ...good, nodes: [{ ...node, ...change }] })
const kernel = (change: Partial<NodeFacts["kernel"]>): Facts => on({ kernel: { ...node.kernel, ...change } })
const inPod = (change: Partial<typeof pod>): Facts => on({ pods: new Map([[wanted.key, { ...pod, ...change }]]) })
const ways = (entries: ReadonlyArray<readonly [string, ReadonlyArray<string>]>): Facts => ({
  ...good,
  router: [{ ...table, routes: new Map([...table.routes, ...entries]) }]
})

const problems = (facts: Facts) => disagreements(facts).map(describeDisagreement)

const { addresses, links, neighbours, routes } = node.kernel
const stranger = { key: "c2/eth0", hostLink: "flock0000000b", addresses: ["10.42.0.3"], anycast: [] }

describe("the audit", () => {
  it("is content with what agrees", () => assert.deepStrictEqual(problems(good), []))

  it("is content with a pod that is not Ready and not announced", () => {
    const calm = on({
      wanted: [{ ...wanted, ready: false }],
      announced: [],
      kernel: { ...node.kernel, routes: routes.filter(({ protocol }) => protocol !== "201") }
    })
    const router = [{ ...table, routes: new Map([...table.routes].filter(([prefix]) => prefix.endsWith("4"))) }]
    assert.deepStrictEqual(problems({ ...calm, router }), [])
  })

  it.each<readonly [string, Facts, string]>([
    ["an allocation that the agent lost", on({ agent: [] }), "node1, agent: attachment c1/eth0 is lost"],
    ["one that it has too much", on({ agent: [...node.agent, stranger] }), "agent: attachment c2/eth0 is leaked"],
    ["one that it has twice", on({ agent: [...node.agent, ...node.agent] }), "agent: attachment c1/eth0 is doubled"],
    [
      "another address than was answered",
      on({ agent: [{ ...stranger, key: wanted.key }] }),
      "has addresses \"10.42.0.3\""
    ],
    ["an anycast address that it forgot", on({ agent: [{ ...wanted, anycast: [ANY6] }] }), "has anycast"],
    ["an address that it does not announce", on({ announced: [ANY6] }), `announced address ${ANY4} is lost`],
    [
      "an address that it announces though nobody is Ready",
      on({ announced: [ANY6, ANY4, "192.0.2.9"] }),
      "192.0.2.9 is leaked"
    ],
    ["a session that is not up", on({ sessions: [{ peer: "x", state: "Active" }] }), "session with x is Active"],
    ["no session", on({ sessions: [] }), "there is no session"],
    ["a record that is lost", on({ records: [] }), "node1, records: attachment c1/eth0 is lost"],
    ["a record that is leaked", on({ records: [...node.records, stranger] }), "records: attachment c2/eth0 is leaked"],
    ["an intent that stays", on({ stray: ["c2@eth0.pending"] }), "file c2@eth0.pending is no record"],
    ["a link that is lost", kernel({ links: links.slice(0, 1) }), "kernel: link of c1/eth0 is lost"],
    [
      "a link that is leaked",
      kernel({ links: [...links, { ...link, name: "flock0000000b", alias: "- c2 eth0" }] }),
      "link of c2/eth0 is leaked"
    ],
    [
      "a link without an alias",
      kernel({ links: [...links, { ...link, name: "flock0000000b", alias: "" }] }),
      "link of \"\" is leaked"
    ],
    [
      "two links of one pod",
      kernel({ links: [...links, { ...link, name: "flock0000000b" }] }),
      "link of c1/eth0 is doubled"
    ],
    ["a link that is down", kernel({ links: [{ ...link, up: false }] }), "link flock0000000a of c1/eth0 is down"],
    ["a link with another MAC", kernel({ links: [{ ...link, mac: POD_MAC }] }), "has MAC 02:00"],
    ["a link without the gateway", kernel({ addresses: [] }), "has no fe80::1"],
    [
      "a host route that is lost",
      kernel({ routes: routes.slice(1) }),
      `route of protocol 200 ${V6} flock0000000a is lost`
    ],
    [
      "a host route that is leaked",
      kernel({ routes: [...routes, route("10.42.0.9", "200", link.name)] }),
      "route of protocol 200 10.42.0.9 flock0000000a is leaked"
    ],
    [
      "a host route to another pod",
      kernel({ routes: [route(V6, "200", "flock0000000b"), ...routes.slice(1)] }),
      `${V6} flock0000000b is leaked`
    ],
    [
      "an export that is lost",
      kernel({ routes: routes.filter(({ destination }) => destination !== ANY4) }),
      `route of protocol 201 ${ANY4}`
    ],
    [
      "an export that is leaked",
      kernel({ routes: [...routes, route("192.0.2.9", "201", "uplink")] }),
      "route of protocol 201 192.0.2.9 uplink is leaked"
    ],
    [
      "an export via another address",
      kernel({
        routes: [
          ...routes.filter(({ destination }) => destination !== ANY4),
          route(ANY4, "201", link.name, "10.42.0.9")
        ]
      }),
      "10.42.0.9@flock0000000a is leaked"
    ],
    [
      "a neighbour that is lost",
      kernel({ neighbours: neighbours.slice(1) }),
      `neighbour ${V6} on flock0000000a of c1/eth0 is lost`
    ],
    [
      "a neighbour that may go",
      kernel({ neighbours: neighbours.map((n) => ({ ...n, permanent: false })) }),
      `neighbour ${V6}`
    ],
    [
      "a neighbour with another's MAC",
      kernel({ neighbours: neighbours.map((n) => ({ ...n, mac: MAC })) }),
      `neighbour ${V6}`
    ],
    ["a pod without its interface", inPod({ links: pod.links.slice(0, 1) }), "pod: c1/eth0: eth0 is lost"],
    ["a pod whose interface is down", inPod({ links: pod.links.map((l) => ({ ...l, up: false })) }), "eth0 is down"],
    [
      "a pod without its address",
      inPod({ addresses: pod.addresses.filter(({ address }) => address !== V4) }),
      `address on eth0 ${V4} is lost`
    ],
    [
      "a pod with an address too many",
      inPod({ addresses: [...pod.addresses, { dev: "eth0", address: "10.42.0.9" }] }),
      "address on eth0 10.42.0.9 is leaked"
    ],
    [
      "a pod without its anycast address",
      inPod({ addresses: pod.addresses.filter(({ address }) => address !== ANY6) }),
      `address on lo ${ANY6} is lost`
    ],
    ["a pod without a default route", inPod({ routes: pod.routes.slice(1) }), "IPv6 has default routes"],
    [
      "a pod without its gateway's neighbour",
      inPod({ neighbours: pod.neighbours.slice(1) }),
      "neighbour fe80::1 is lost or changed"
    ],
    [
      "an answer that is an error",
      on({ answers: [{ call: "CHECK c1", code: 102, message: "no" }] }),
      "plugin: CHECK c1 answers 102: no"
    ],
    ["descriptors that grow", on({ process: { ...node.process!, descriptors: 61 } }), "process: 61 descriptors"],
    ["a namespace that is held", on({ process: { ...node.process!, namespaces: 2 } }), "2 descriptors of namespaces"],
    ["memory that grows", on({ process: { ...node.process!, memory: 200_001 } }), "200001 kB"],
    [
      "a prefix that the router lost",
      { ...good, router: [{ ...table, routes: new Map([...table.routes].slice(1)) }] },
      "router: kernel route 2001:db8:100::/64 via node1 is lost"
    ],
    [
      "a route that the router has too much",
      ways([["192.0.2.9", ["198.51.100.11"]]]),
      "kernel route 192.0.2.9 via node1 is leaked"
    ],
    [
      "a route by way of a stranger",
      ways([[ANY4, ["198.51.100.99"]]]),
      `kernel route ${ANY4} via 198.51.100.99 is leaked`
    ],
    [
      "a session that the router has not",
      { ...good, sessions: [{ peer: "198.51.100.11", state: "Idle" }] },
      "router: session with 198.51.100.11 is Idle"
    ]
  ])("finds %s", (_, facts, words) => {
    const found = problems(facts)
    assert.isTrue(found.some((problem) => problem.includes(words)), `${words} is not in:\n${found.join("\n")}`)
  })

  it("finds an address that two nodes' pods have", () => {
    const other = { ...node, name: "node2", wanted: [{ ...wanted, key: "c9/eth0" }] }
    assert.include(problems({ ...good, nodes: [node, other] }), `all nodes, nodes: address ${V6} is doubled`)
  })

  it("wants one multipath route of two Ready pods with one address", () => {
    const second = { ...wanted, key: "c2/eth0", addresses: ["2001:db8:100::b", "10.42.0.3"] }
    const both = [...links, { ...link, name: "flock0000000b", alias: "default/p2 c2 eth0" }]
    const facts = on({ wanted: [wanted, second], kernel: { ...node.kernel, addresses, links: both } })
    assert.include(
      problems(facts).join("\n"),
      `route of protocol 201 ${ANY6} 2001:db8:100::a@flock0000000a 2001:db8:100::b@flock0000000b is lost`
    )
  })
})
