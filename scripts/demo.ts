/**
 * `npm run demo`: flock's main job on this machine alone. Two nodes, an FRR router and a client, each a network namespace;
 * pods are namespaces too, given their network by the real plugin and agent. Everything is removed at the end.
 */
import type { AgentNode } from "../lab/AgentNode.ts"
import { addressesOf, type CniReply } from "../lab/cni.ts"
import { inside } from "../lab/exec.ts"
import { type Fetch, urlOf } from "../lab/http.ts"
import { ANYCAST4, ANYCAST6, Network } from "../lab/Network.ts"
import type { Pod } from "../lab/Pod.ts"
import { now, sleep, until } from "../lab/until.ts"
import { World } from "../lab/World.ts"

const colour = process.env["FORCE_COLOR"] !== undefined ||
  (process.stdout.isTTY && process.env["NO_COLOR"] === undefined)
const bold = (text: string): string => colour ? `\u001b[1m${text}\u001b[0m` : text
const dim = (text: string): string => colour ? `\u001b[2m${text}\u001b[0m` : text

const title = (text: string): void => console.log(`\n${bold(text)}`)
const say = (text: string): void => console.log(`  ${text}`)
const quote = (text: string): void => {
  for (const line of text.trimEnd().split("\n")) console.log(dim(`    ${line.trimEnd()}`))
}

const CALLS = 10

const ms = (milliseconds: number): string => `${milliseconds.toFixed(1)} ms`

/**
 * What the agent took for a pod's calls, from request to answer, as its log says. This script's own clock would measure
 * Node starting processes.
 */
const agentTook = (node: AgentNode, netns: string, verb: "ADD" | "DEL"): ReadonlyArray<number> =>
  node.readLog().split("\n").flatMap((text) => {
    if (!text.includes(netns) || !text.includes(`${verb} done`)) return []
    const line = JSON.parse(text)
    return [Number((line.annotations ?? line).milliseconds)]
  })

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

interface Started {
  readonly pod: Pod
  readonly addresses: ReadonlyArray<string>
}

const startPod = async (network: Network, index: number, name: string): Promise<Started> => {
  const pod = await network.pod(index, name, { anycast: [ANYCAST6, ANYCAST4] })
  const { allocations } = await pod.node.status()
  const { ipv4 = "", ipv6 = "" } = allocations.find((allocation) => allocation.pod === name) ?? {}
  say(`${name} on node ${index + 1}: ${ipv6}, ${ipv4}`)
  await pod.serve()
  return { pod, addresses: [ipv6, ipv4] }
}

/** ADD and DEL of a pod without annotations. */
const timeCalls = async (node: AgentNode): Promise<void> => {
  const netns = await node.pod()
  let result: CniReply["json"]
  for (let i = 0; i < CALLS; i++) {
    result = await node.add(netns)
    await node.cni("DEL", netns)
  }
  const [adds, dels] = await until("the agent's log of the calls", () => {
    const both = (["ADD", "DEL"] as const).map((verb) => agentTook(node, netns, verb))
    return both.every(({ length }) => length === CALLS) && both
  })
  say(
    `The agent takes ${ms(median(adds ?? []))} for an ADD, ${
      ms(median(dels ?? []))
    } for a DEL: medians of ${CALLS} in its log.`
  )
  quote(`last result: ${addressesOf(result).join(", ")}, host link ${result.interfaces[0].name}`)
}

const answers = (fetches: ReadonlyArray<Fetch>, since: number, until = Number.POSITIVE_INFINITY) => {
  const counted = new Map<string, number>()
  for (const { error, pod = "", start } of fetches) {
    if (start < since || start >= until) continue
    const key = error === undefined ? pod : `FAILED (${error})`
    counted.set(key, (counted.get(key) ?? 0) + 1)
  }
  return [...counted].toSorted().map(([pod, count]) => `${pod} ${count}`).join(", ") || "none"
}

const showRouter = async (network: Network): Promise<void> => {
  for (const family of [6, 4] as const) {
    for (const [prefix, gateways] of [...await network.lan.kernelRoutes(family)].toSorted()) {
      quote(`${prefix.padEnd(18)} via ${gateways.join(" and ")}`)
    }
  }
}

const failOver = async (network: Network, one: Pod): Promise<void> => {
  const loop = network.fetchLoop([urlOf(ANYCAST6), urlOf(ANYCAST4)])
  const start = now()
  await sleep(1500)
  const flipped = one.set({ ready: false })
  await sleep(1500)
  const events = [ANYCAST6, ANYCAST4].map((address) => network.monitor.last(address, flipped))
  await loop.stop()
  const took = Math.max(...events.map((event) => (event?.at ?? Number.NaN) - flipped))
  say(`A client fetches http://[${ANYCAST6}]/ and http://${ANYCAST4}/ in a loop, each time anew:`)
  quote(`both Ready:           ${answers(loop.fetches, start, flipped)}`)
  say(`web-1 stops being Ready. ${bold(`${ms(took)} later the router sends everything to web-2`)}, both families.`)
  quote("most of that is FRR's own timers: npm run bench has it behind BIRD, too")
  quote(`first 50 ms:          ${answers(loop.fetches, flipped, flipped + 50)}`)
  quote(`after that:           ${answers(loop.fetches, flipped + 50)}`)
  const failed = loop.fetches.filter(({ error }) => error !== undefined)
  say(failed.length === 0 ? `${loop.fetches.length} requests, none failed.` : `${failed.length} requests failed!`)
}

const story = async (network: Network): Promise<void> => {
  const [node1, node2] = [network.node(0), network.node(1)]
  say("Two nodes, an FRR router, a client behind it: agents run, BIRD's sessions are Established.")

  title("1. Pods get routed addresses, without overlay, NAT or bridge")
  await timeCalls(node1)
  const one = await startPod(network, 0, "web-1")
  const two = await startPod(network, 1, "web-2")
  say("What web-1 sees:")
  quote(await inside(one.pod.netns, "ip", "-brief", "addr"))
  quote(await inside(one.pod.netns, "ip", "route"))
  quote(await inside(one.pod.netns, "ip", "-6", "route", "show", "default"))

  title("2. They talk: to each other, and to the world")
  for (const address of two.addresses) {
    const reached = await node1.ping(one.pod.netns, address)
    const { error, pod } = await network.fetch(urlOf(address))
    say(
      `web-1 pings ${address}: ${reached ? "answered" : "LOST"}; the client's HTTP request: ${
        error ?? `200 from ${pod}`
      }`
    )
  }

  title("3. The router's table, learned by BGP: one prefix a node and family")
  await showRouter(network)

  title("4. Anycast follows readiness")
  say(`Both pods carry ${ANYCAST6} and ${ANYCAST4} on lo. Neither is Ready, so nothing is announced.`)
  quote((await node1.tool("why", ANYCAST6)).stdout.split("\n")[0] ?? "")
  for (const { pod } of [one, two]) pod.set({ ready: true })
  for (const address of [ANYCAST6, ANYCAST4]) await network.ways(address, 2)
  say("Both become Ready; the router now has two ways to each address:")
  await showRouter(network)
  await failOver(network, one.pod)

  title("5. What the agent says of node 2")
  quote((await node2.tool("status")).stdout)

  title("6. Pods end; nothing is left")
  for (const { pod } of [one, two]) {
    await pod.del()
    const left = [
      ...await pod.node.routes(200),
      ...await pod.node.routes(201),
      ...(await pod.node.links()).filter((name) => name.startsWith("flock"))
    ]
    say(`${pod.name}: links and routes left on its node: ${left.length}`)
  }
  for (const address of [ANYCAST6, ANYCAST4]) await network.ways(address, 0)
  say("The router has dropped the anycast addresses too.")
}

const begin = performance.now()
console.log(bold("flock: routed pods on your own network"))
{
  await using world = new World()
  await story(await Network.open(world, { nodes: 2 }))
}
console.log(
  dim(`\n${((performance.now() - begin) / 1000).toFixed(1)} s in all; every namespace and process of the demo is gone.`)
)
