/**
 * `npm run demo`: flock's main job on this machine alone. Two nodes, an FRR router and a client, each a network namespace;
 * pods are namespaces too, given their network by the real plugin and agent. Everything is removed at the end.
 */
import { addressesOf, type CniReply, run, type TestNode } from "../test/agent/node.ts"
import { ANYCAST4, ANYCAST6, AnycastLab, type AnycastPod, type Fetch, urlOf } from "../test/bgp/anycastLab.ts"
import { now } from "../test/bgp/monitor.ts"

const colour = process.stdout.isTTY && process.env["NO_COLOR"] === undefined
const bold = (text: string): string => colour ? `\u001b[1m${text}\u001b[0m` : text
const dim = (text: string): string => colour ? `\u001b[2m${text}\u001b[0m` : text

const title = (text: string): void => console.log(`\n${bold(text)}`)
const say = (text: string): void => console.log(`  ${text}`)
const quote = (text: string): void => {
  for (const line of text.trimEnd().split("\n")) console.log(dim(`    ${line.trimEnd()}`))
}

const ms = (milliseconds: number): string => `${milliseconds.toFixed(1)} ms`

const timed = async <A>(task: () => Promise<A>): Promise<readonly [A, number]> => {
  const start = performance.now()
  const result = await task()
  return [result, performance.now() - start]
}

const inside = (netns: string, ...command: ReadonlyArray<string>): Promise<string> =>
  run("nsenter", `--net=/run/netns/${netns}`, ...command)

interface Pod {
  readonly pod: AnycastPod
  readonly node: TestNode
  readonly addresses: ReadonlyArray<string>
}

const startPod = async (lab: AnycastLab, index: number, name: string): Promise<Pod> => {
  const node = lab.nodes[index] as TestNode
  const [pod, took] = await timed(() => lab.pod(index, name, { anycast: [ANYCAST6, ANYCAST4] }))
  const { allocations } = JSON.parse((await node.tool("status", "--json")).stdout)
  const { ipv4, ipv6 } = allocations.find((a: { readonly pod: string }) => a.pod === name)
  say(`${name} on node ${index + 1}: ${ipv6}, ${ipv4}`)
  quote(`namespace, Pod object, ADD: ${ms(took)}`)
  await lab.serve(pod)
  return { pod, node, addresses: [ipv6, ipv4] }
}

/** The plugin's own time, process and all, as kubelet would see it: ADD and DEL of a pod without annotations. */
const timeCalls = async (node: TestNode): Promise<void> => {
  const netns = await node.pod()
  const adds: Array<number> = []
  const dels: Array<number> = []
  let result: CniReply["json"]
  for (let i = 0; i < 10; i++) {
    const [reply, add] = await timed(() => node.add(netns))
    result = reply
    adds.push(add)
    dels.push((await timed(() => node.cni("DEL", netns)))[1])
  }
  const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
  say(
    `ADD takes ${ms(median(adds))}, DEL ${
      ms(median(dels))
    }: medians of 10 as this script sees them (exact figures: npm run bench)`
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

const showRouter = async (lab: AnycastLab): Promise<void> => {
  for (const family of [6, 4] as const) {
    for (const [prefix, gateways] of [...await lab.lab.kernelRoutes(family)].toSorted()) {
      quote(`${prefix.padEnd(18)} via ${gateways.join(" and ")}`)
    }
  }
}

const failOver = async (lab: AnycastLab, one: Pod): Promise<void> => {
  const loop = lab.fetchLoop([urlOf(ANYCAST6), urlOf(ANYCAST4)])
  const pause = (time: number) => new Promise((done) => setTimeout(done, time))
  const start = now()
  await pause(1500)
  const flipped = one.pod.set({ ready: false })
  await pause(1500)
  const events = [ANYCAST6, ANYCAST4].map((address) => lab.monitor.last(address, flipped))
  await loop.stop()
  const took = Math.max(...events.map((event) => (event?.at ?? Number.NaN) - flipped))
  say(`A client fetches http://[${ANYCAST6}]/ and http://${ANYCAST4}/ in a loop, each time anew:`)
  quote(`both Ready:           ${answers(loop.fetches, start, flipped)}`)
  say(`web-1 stops being Ready. ${bold(`${ms(took)} later the router sends everything to web-2`)}, both families:`)
  quote(`first 50 ms:          ${answers(loop.fetches, flipped, flipped + 50)}`)
  quote(`after that:           ${answers(loop.fetches, flipped + 50)}`)
  const failed = loop.fetches.filter(({ error }) => error !== undefined)
  say(failed.length === 0 ? `${loop.fetches.length} requests, none failed.` : `${failed.length} requests failed!`)
}

const story = async (lab: AnycastLab): Promise<void> => {
  const [node1, node2] = lab.nodes as [TestNode, TestNode]
  say("Two nodes, an FRR router, a client behind it: agents run, BIRD's sessions are Established.")

  title("1. Pods get routed addresses, without overlay, NAT or bridge")
  await timeCalls(node1)
  const one = await startPod(lab, 0, "web-1")
  const two = await startPod(lab, 1, "web-2")
  say("What web-1 sees:")
  quote(await inside(one.pod.netns, "ip", "-brief", "addr"))
  quote(await inside(one.pod.netns, "ip", "route"))
  quote(await inside(one.pod.netns, "ip", "-6", "route", "show", "default"))

  title("2. They talk: to each other, and to the world")
  for (const address of two.addresses) {
    const reached = await node1.ping(one.pod.netns, address)
    const { error, pod } = await lab.fetch(urlOf(address))
    say(
      `web-1 pings ${address}: ${reached ? "answered" : "LOST"}; the client's HTTP request: ${
        error ?? `200 from ${pod}`
      }`
    )
  }

  title("3. The router's table, learned by BGP: one prefix a node and family")
  await showRouter(lab)

  title("4. Anycast follows readiness")
  say(`Both pods carry ${ANYCAST6} and ${ANYCAST4} on lo. Neither is Ready, so nothing is announced.`)
  quote((await node1.tool("why", ANYCAST6)).stdout.split("\n")[0] ?? "")
  for (const { pod } of [one, two]) pod.set({ ready: true })
  for (const address of [ANYCAST6, ANYCAST4]) await lab.ways(address, 2)
  say("Both become Ready; the router now has two ways to each address:")
  await showRouter(lab)
  await failOver(lab, one)

  title("5. What the agent says of node 2")
  quote((await node2.tool("status")).stdout)

  title("6. Pods end; nothing is left")
  for (const { node, pod } of [one, two]) {
    const [, took] = await timed(() => pod.del())
    const left = [
      ...await node.routes(200),
      ...await node.routes(201),
      ...(await node.links()).filter((name) => name.startsWith("flock"))
    ]
    say(`${pod.name}: DEL ${ms(took)}; links and routes left on its node: ${left.length}`)
  }
  for (const address of [ANYCAST6, ANYCAST4]) await lab.ways(address, 0)
  say("The router has dropped the anycast addresses too.")
}

const begin = performance.now()
console.log(bold("flock: routed pods on your own network"))
const lab = await AnycastLab.open({ nodes: 2, bfd: false })
try {
  await story(lab)
} finally {
  await lab.close()
}
console.log(
  dim(`\n${((performance.now() - begin) / 1000).toFixed(1)} s in all; every namespace and process of the demo is gone.`)
)
