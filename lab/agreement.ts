/**
 * What independent sources say of the same nodes, compared: what the plugin answered and the runtime keeps, the agent,
 * its records, the kernel, the pods and the router. Facts in, disagreements out. Pure; `lab/facts.ts` collects.
 */

import type {
  Attachment,
  Disagreement,
  Facts,
  Link,
  Namespace,
  NodeFacts,
  ProcessFacts,
  Route,
  Session,
  Wanted
} from "./sources.ts"

export type * from "./sources.ts"

/** MAC address of every pod's gateway (docs/architecture.md, "A pod's network"). */
const HOST_MAC = "ee:ee:ee:ee:ee:ee"

const sorted = (values: Iterable<string>): string => [...values].toSorted().join(" ")

/** What is in one and not in the other, said; `lost` and `leaked` name the two sides. */
const compareSets = (what: string, wanted: Iterable<string>, found: Iterable<string>): ReadonlyArray<string> => {
  const [want, have] = [new Set(wanted), new Set(found)]
  return [
    ...[...want.difference(have)].map((one) => `${what} ${one} is lost`),
    ...[...have.difference(want)].map((one) => `${what} ${one} is leaked`)
  ]
}

const doubles = (what: string, values: ReadonlyArray<string>): ReadonlyArray<string> =>
  [...new Set(values.filter((value, i) => values.indexOf(value) !== i))].map((value) => `${what} ${value} is doubled`)

/** A source's list of attachments against the wanted ones. */
const attachmentProblems = (wanted: ReadonlyArray<Wanted>, found: ReadonlyArray<Attachment>): ReadonlyArray<string> => {
  const byKey = new Map(found.map((one) => [one.key, one]))
  return [
    ...compareSets("attachment", wanted.map(({ key }) => key), byKey.keys()),
    ...doubles("attachment", found.map(({ key }) => key)),
    ...wanted.flatMap(({ addresses, anycast, key }) => {
      const other = byKey.get(key)
      if (other === undefined) return []
      return (["addresses", "anycast"] as const).flatMap((field) => {
        const [want, have] = [sorted(field === "addresses" ? addresses : anycast), sorted(other[field])]
        return want === have ? [] : [`${key} has ${field} "${have}", wanted "${want}"`]
      })
    })
  ]
}

/** `containerId/ifName` of a link's alias, `OWNER containerId ifName`; the alias itself where it is none. */
const keyOfAlias = (alias: string): string => {
  const [, containerId, ifName] = alias.split(" ")
  return containerId === undefined || ifName === undefined ? `"${alias}"` : `${containerId}/${ifName}`
}

const describeRoute = ({ destination, hops }: Pick<Route, "destination" | "hops">): string =>
  `${destination} ${sorted(hops.map(({ dev, via }) => via === undefined ? dev : `${via}@${dev}`))}`

const podRoutes = (wanted: ReadonlyArray<Wanted>, linkOf: ReadonlyMap<string, Link>): ReadonlyArray<string> =>
  wanted.flatMap(({ addresses, key }) => {
    const link = linkOf.get(key)
    return link === undefined ?
      [] :
      addresses.map((destination) => describeRoute({ destination, hops: [{ dev: link.name }] }))
  })

const family = (address: string): 4 | 6 => address.includes(":") ? 6 : 4

/** One multipath route for each address, over all Ready pods that have it. */
const exportRoutes = (wanted: ReadonlyArray<Wanted>, linkOf: ReadonlyMap<string, Link>): ReadonlyArray<string> => {
  const hops = new Map<string, Array<Route["hops"][number]>>()
  for (const { addresses, follows, key, ready } of wanted) {
    const link = linkOf.get(key)
    if (!ready || link === undefined) continue
    for (const address of follows) {
      const via = addresses.find((own) => family(own) === family(address) && own !== address)
      const hop = addresses.includes(address) || via === undefined ? { dev: link.name } : { dev: link.name, via }
      hops.set(address, [...hops.get(address) ?? [], hop])
    }
  }
  return [...hops].map(([destination, list]) => describeRoute({ destination, hops: list }))
}

const linkProblems = (node: NodeFacts, one: Wanted, link: Link): ReadonlyArray<string> => {
  const { addresses, neighbours } = node.kernel
  const podMac = node.pods.get(one.key)?.links.find(({ name }) => name === one.ifName)?.mac
  const has = (address: string) => addresses.some((a) => a.dev === link.name && a.address === address)
  return [
    ...(link.up ? [] : [`link ${link.name} of ${one.key} is down`]),
    ...(link.mac === HOST_MAC ? [] : [`link ${link.name} of ${one.key} has MAC ${link.mac}`]),
    ...(one.addresses.some((address) => family(address) === 6) && !has("fe80::1")
      ? [`link ${link.name} of ${one.key} has no fe80::1`]
      : []),
    ...one.addresses.flatMap((address) => {
      const entry = neighbours.find((n) => n.dev === link.name && n.address === address)
      return entry?.permanent === true && (podMac === undefined || entry.mac === podMac)
        ? []
        : [`neighbour ${address} on ${link.name} of ${one.key} is ${JSON.stringify(entry) ?? "lost"}`]
    })
  ]
}

const kernelProblems = (node: NodeFacts): ReadonlyArray<string> => {
  const links = node.kernel.links.filter(({ name }) => /^flock[0-9a-f]{8}$/.test(name))
  const keys = links.map(({ alias }) => keyOfAlias(alias))
  const linkOf = new Map(links.map((link) => [keyOfAlias(link.alias), link]))
  const routes = (protocol: string) =>
    node.kernel.routes.filter((route) => route.protocol === protocol).map(describeRoute)
  return [
    ...compareSets("link of", node.wanted.map(({ key }) => key), keys),
    ...doubles("link of", keys),
    ...compareSets("route of protocol 200", podRoutes(node.wanted, linkOf), routes("200")),
    ...compareSets("route of protocol 201", exportRoutes(node.wanted, linkOf), routes("201")),
    ...node.wanted.flatMap((one) => {
      const link = linkOf.get(one.key)
      return link === undefined ? [] : linkProblems(node, one, link)
    })
  ]
}

const podProblems = (one: Wanted, pod: Namespace): ReadonlyArray<string> => {
  const link = pod.links.find(({ name }) => name === one.ifName)
  if (link === undefined) return [`${one.key}: ${one.ifName} is lost`]
  const on = (dev: string) =>
    pod.addresses.filter((a) => a.dev === dev).map(({ address }) => address)
      .filter((address) => !/^(fe80:|127\.|::1$)/.test(address))
  const families = new Set(one.addresses.map(family))
  const gateways = pod.routes.filter(({ destination }) => destination === "default").flatMap(({ hops }) =>
    hops.filter(({ dev }) => dev === one.ifName).flatMap(({ via }) => via ?? [])
  )
  return [
    ...(link.up ? [] : [`${one.ifName} is down`]),
    ...compareSets(`address on ${one.ifName}`, one.addresses, on(one.ifName)),
    ...compareSets("address on lo", one.anycast, on("lo")),
    ...[...families].filter((wanted) => gateways.filter((gateway) => family(gateway) === wanted).length !== 1)
      .map((wanted) => `IPv${wanted} has default routes "${sorted(gateways)}"`),
    ...gateways.filter((gateway) =>
      !pod.neighbours.some((n) => n.address === gateway && n.mac === HOST_MAC && n.permanent)
    ).map((gateway) => `neighbour ${gateway} is lost or changed`)
  ].map((problem) => `${one.key}: ${problem}`)
}

const processProblems = (facts: ProcessFacts | undefined): ReadonlyArray<string> =>
  facts === undefined ? [] : [
    ...(facts.descriptors <= facts.maxDescriptors
      ? []
      : [`${facts.descriptors} descriptors, at most ${facts.maxDescriptors} are right`]),
    ...(facts.namespaces <= facts.maxNamespaces
      ? []
      : [`${facts.namespaces} descriptors of namespaces, at most ${facts.maxNamespaces} are right`]),
    ...(facts.memory <= facts.maxMemory ? [] : [`${facts.memory} kB, at most ${facts.maxMemory} are right`])
  ]

/** What a node must announce. */
export const dueOf = (wanted: ReadonlyArray<Wanted>): ReadonlySet<string> =>
  new Set(wanted.filter(({ ready }) => ready).flatMap(({ follows }) => follows))

/** Routes may outlive a session (RFC 4724), so that tables alone do not tell. */
const sessionProblems = (sessions: ReadonlyArray<Session>): ReadonlyArray<string> => [
  ...(sessions.length === 0 ? ["there is no session"] : []),
  ...sessions.filter(({ state }) => state !== "Established").map(({ peer, state }) =>
    `session with ${peer} is ${state}`
  )
]

const nodeProblems = (node: NodeFacts): ReadonlyArray<Disagreement> => {
  const all: Record<Exclude<Disagreement["source"], "router" | "nodes">, ReadonlyArray<string>> = {
    agent: [
      ...attachmentProblems(node.wanted, node.agent),
      ...compareSets("announced address", dueOf(node.wanted), node.announced),
      ...(node.sessions === undefined ? [] : sessionProblems(node.sessions))
    ],
    records: [
      ...attachmentProblems(node.wanted, node.records),
      ...node.stray.map((file) => `file ${file} is no record`)
    ],
    kernel: kernelProblems(node),
    pod: node.wanted.flatMap((one) => {
      const pod = node.pods.get(one.key)
      return pod === undefined ? [] : podProblems(one, pod)
    }),
    plugin: node.answers.filter(({ code }) => code !== 0).map(({ call, code, message }) =>
      `${call} answers ${code}: ${message}`
    ),
    process: processProblems(node.process)
  }
  return Object.entries(all).flatMap(([source, problems]) =>
    problems.map((problem) => ({ where: node.name, source: source as keyof typeof all, problem }))
  )
}

/** Each table of the router: every prefix and announced address by way of the nodes that have it, and nothing else. */
const routerProblems = ({ nodes, router, sessions }: Facts): ReadonlyArray<Disagreement> => {
  const wanted = new Map<string, Array<string>>()
  for (const { name, prefixes, wanted: pods } of nodes) {
    for (const destination of [...prefixes, ...dueOf(pods)]) {
      wanted.set(destination, [...wanted.get(destination) ?? [], name])
    }
  }
  const nameOf = new Map(nodes.flatMap(({ name, nextHops }) => nextHops.map((hop) => [hop, name] as const)))
  const ways = (destination: string, names: Iterable<string>) => `${destination} via ${sorted(new Set(names))}`
  const problems = router.length === 0 ? [] : sessionProblems(sessions)
  const tables = router.flatMap(({ name, routes }) =>
    compareSets(
      `${name} route`,
      [...wanted].map(([destination, names]) => ways(destination, names)),
      [...routes].map(([destination, hops]) => ways(destination, hops.map((hop) => nameOf.get(hop) ?? hop)))
    )
  )
  return [...problems, ...tables].map((problem) => ({ where: "router", source: "router", problem }))
}

/** Everything that two sources say differently; none: they agree. */
export const disagreements = (facts: Facts): ReadonlyArray<Disagreement> => [
  ...facts.nodes.flatMap(nodeProblems),
  ...doubles("address", facts.nodes.flatMap(({ wanted }) => wanted.flatMap(({ addresses }) => addresses)))
    .map((problem) => ({ where: "all nodes", source: "nodes" as const, problem })),
  ...routerProblems(facts)
]

export const describeDisagreement = ({ problem, source, where }: Disagreement): string =>
  `${where}, ${source}: ${problem}`
