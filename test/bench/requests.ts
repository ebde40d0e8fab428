/**
 * What the DaemonSet's CPU request is worth: ADDs beside pods that never wait, in groups that share the processors as kubelet
 * has them do. Runtime and plugins are outside of the pods' group, as on a node.
 */
import { PLUGIN } from "../../lab/cni.ts"
import { CpuGroup, spin } from "../../lab/cpuGroups.ts"
import { callPlugin, type Plugin, withAgent } from "./lab.ts"
import { type Bench, median, percentile, type Row } from "./report.ts"

const PODS = 10
const SINGLE = 5
const SPEC = { cidr4: "10.42.0.0/16", cidr6: "2001:db8:42::/64", mtu: 1500 }
/** Millicores that the agent asks for. */
const REQUESTS = [50, 100, 200]
/** Those of the pods beside it, on a node of two processors. */
const OTHERS = 1500
/** Those of both and of the runtime: the machine's other processes hardly count beside it. */
const EVERYTHING = 60_000

export const requests: Bench = {
  name: "requests",
  title: `ADD beside pods that take every processor and ask for ${OTHERS}m, by what the agent asks for`,
  seconds: { once: 8, round: 20 },
  run: ({ log, rounds }) =>
    withAgent(SPEC, async (lab, agent) => {
      const { world } = lab
      const flock: Plugin = {
        path: PLUGIN,
        config: lab.write("flock.json", JSON.stringify({ cniVersion: "1.0.0", name: "flock", type: "flock" }))
      }
      const ids = Array.from({ length: PODS }, () => world.netns("pod"))
      const both = async (mode: "one" | "all", pods: ReadonlyArray<string>) => {
        const { each } = await callPlugin(lab, flock, "ADD", mode, pods)
        await callPlugin(lab, flock, "DEL", mode, pods)
        return each
      }
      for (let i = 0; i < 3; i++) await both("all", ids)
      const machine = CpuGroup.top(world, EVERYTHING)
      const system = machine.child(world, "system", 1000)
      const pods = machine.child(world, "pods", 2000)
      const agents = pods.child(world, "agent", REQUESTS[0] ?? 50)
      const others = pods.child(world, "others", OTHERS)
      system.add(process.pid)
      if (agent.agent?.pid !== undefined) agents.add(agent.agent.pid)
      const seen = REQUESTS.map((request) => ({ request, burst: [] as Array<number>, single: [] as Array<number> }))
      const stop = spin(world, others)
      try {
        for (let round = 0; round < rounds; round++) {
          log(`round ${round + 1} of ${rounds}`)
          for (const { burst, request, single } of seen.toReversed()) {
            agents.setRequest(request)
            burst.push(...await both("all", ids))
            single.push(...await both("one", ids.slice(0, SINGLE)))
            log(`${request}m: one ADD ${median(single).toFixed(1)} ms, at once ${median(burst).toFixed(1)} ms`)
          }
        }
      } finally {
        await stop()
        // Its group goes with the world.
        CpuGroup.leave(process.pid)
      }
      return seen.flatMap(({ burst, request, single }): ReadonlyArray<Row> => [
        { name: `${request}m: one ADD, p50`, value: median(single), unit: "ms" },
        { name: `${request}m: one ADD, p95`, value: percentile(single, 0.95), unit: "ms" },
        { name: `${request}m: ${PODS} ADDs at once, p50`, value: median(burst), unit: "ms" },
        { name: `${request}m: ${PODS} ADDs at once, p95`, value: percentile(burst, 0.95), unit: "ms" }
      ])
    })
}
