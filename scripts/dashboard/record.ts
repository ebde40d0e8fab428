/** A node at work, and what Prometheus answers to the dashboard's queries. */
import { ANYCAST4, ANYCAST6, Network } from "../../lab/Network.ts"
import type { Pod } from "../../lab/Pod.ts"
import { filled, Prometheus, type Series } from "../../lab/Prometheus.ts"
import { sleep } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Line, Recorded } from "./draw.ts"
import { PANELS } from "./panels.ts"

/** Seconds between samples. */
const STEP = 2

const nameOf = (legend: string, { metric }: Series): string =>
  legend.replace(/\{\{(\w+)\}\}/g, (_, label: string) => metric[label] ?? "")

/** Pods that come, flap and go; one that nobody allows; and one that sends from a source that is not its own. */
export const work = async (lab: Network, seconds: number): Promise<void> => {
  const end = performance.now() + seconds * 1000
  const node = lab.node(0)
  const steady = await lab.pod(0, "dns", { anycast: [ANYCAST6, ANYCAST4] })
  steady.set({ ready: true })
  await node.inside("ip", "netns", "exec", steady.netns, "ip", "address", "add", "203.0.113.9/32", "dev", "lo")
  const others: Array<Pod> = []
  for (let i = 0; performance.now() < end; i++) {
    const pod = await lab.pod(0, `web${i}`, { anycast: [`2001:db8:a::${(i % 9 + 2).toString(16)}`] })
    pod.set({ ready: true })
    others.push(pod)
    node.writePod("greedy", { uid: "uid-greedy", annotations: { anycast: "2001:db8:beef::1" } })
    if (i % 3 === 0) await node.cni("ADD", await node.pod(), { pod: "greedy", uid: "uid-greedy" })
    await node.inside(
      "sh",
      "-c",
      `ip netns exec ${steady.netns} ping -qc 3 -i 0.2 -W 1 -I 203.0.113.9 10.42.0.1 || true`
    )
    if (others.length > 5) await others.shift()?.del()
    steady.set({ ready: i % 4 !== 3 })
    await sleep(500)
  }
}

export const record = async (seconds: number): Promise<Recorded> => {
  await using world = new World()
  const lab = await Network.open(world, { nodes: 1 })
  const prometheus = await Prometheus.open(lab.node(0))
  await work(lab, seconds)
  const lines: Record<string, ReadonlyArray<Line>> = {}
  const start = Date.now() / 1000 - seconds
  for (const { queries, title } of PANELS) {
    const answers = await Promise.all(
      queries.map(async ({ expr, legend }) =>
        (await prometheus.range(filled(expr), seconds, STEP)).map((series): Line => ({
          name: nameOf(legend, series),
          points: series.values.map(([at, value]) => [Math.max(0, Math.round(at - start)), Number(value)])
        }))
      )
    )
    lines[title] = answers.flat()
  }
  return { seconds, lines }
}
