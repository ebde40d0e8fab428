/** BIRD's configuration and the node's prefixes: how fast they are made, applied, announced; what the agent costs idle. */
import { readFileSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import type { AgentNode } from "../../lab/AgentNode.ts"
import { run } from "../../lab/exec.ts"
import { Network, nodeSpec } from "../../lab/Network.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { renderConfig } from "../../src/bird/render.ts"
import { address } from "../../src/domain/Ip.ts"
import { input } from "../unit/bird/inputs.ts"
import { flips } from "./anycast.ts"
import { type Bench, median, percentile, type Row } from "./report.ts"

const IDLE_SECONDS = 30
const FLIPS = 100

/**
 * Milliseconds per rendering of 1,000 anycast addresses and 8 peers; the thread's own CPU time, so that other processes of the
 * machine do not count.
 */
const rendering = (): ReadonlyArray<number> => {
  const exportSet = Array.from(
    { length: 1000 },
    (_, i) => address(i % 2 === 0 ? `2001:db8:a::${(i + 1).toString(16)}` : `192.0.${2 + (i >> 8)}.${i & 255}`)
  )
  const peers = Array.from({ length: 8 }, (_, i) => ({
    address: i % 2 === 0 ? `2001:db8:ffff::${10 + i}` : `198.51.100.${10 + i}`,
    asn: 65000,
    communities: ["65001:100"]
  }))
  const cidrs = { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24" }
  const it = input({ ...cidrs, bgp: { asn: 65001, importCIDRs: ["2001:db8::/32"], peers } }, { exportSet })
  return Array.from({ length: 200 }, () => {
    const start = process.threadCpuUsage()
    renderConfig(it)
    const { system, user } = process.threadCpuUsage(start)
    return (system + user) / 1000
  }).slice(20)
}

/** Until BIRD itself says that it runs what is in the file. */
const untilRunning = (node: AgentNode): Promise<void> =>
  new Promise((done, fail) => {
    const revision = /flock_revision = "(\w+)"/.exec(node.readConf())?.[1] ?? ""
    const socket = connect(join(node.birdDirectory, "bird.ctl"))
    socket.on("error", fail)
    socket.on("data", (reply) => {
      if (!reply.toString().includes(revision)) return void socket.write("eval flock_revision\n")
      socket.destroy()
      done()
    })
  })

/** Milliseconds from the write of a NodeConfig to BIRD running it, no reload in the 500 ms before. */
const editing = async (node: AgentNode, rounds: number): Promise<ReadonlyArray<number>> => {
  const times: Array<number> = []
  for (let i = 0; i < rounds; i++) {
    await sleep(1100 + (i * 137) % 400)
    const learned = `2001:db8:${(i + 16).toString(16)}::/48`
    const start = performance.now()
    node.writeNodeConfig(nodeSpec(0, { importCIDRs: [learned] }))
    const end = start + 20_000
    while (!node.readConf().includes(`${learned}+`)) {
      if (performance.now() > end) throw new Error("the edit did not reach bird.conf")
      await new Promise((resolve) => setImmediate(resolve))
    }
    await untilRunning(node)
    times.push(performance.now() - start)
  }
  return times
}

const sessionsUp = ({ birdDirectory }: AgentNode): Promise<boolean> =>
  run("birdc", "-s", join(birdDirectory, "bird.ctl"), "show", "protocols")
    .then((text) => (text.match(/Established/g) ?? []).length === 2)

/** Milliseconds from both sessions Established to both prefixes in the router's kernel, BIRD started anew. */
const announcing = async (network: Network, rounds: number): Promise<ReadonlyArray<number>> => {
  const node = network.node(0)
  const at = (what: string, probe: () => Promise<boolean>) =>
    until(what, async () => await probe() && performance.now(), 20)
  const times: Array<number> = []
  for (let i = 0; i < rounds; i++) {
    await sleep(1000)
    await node.stopBird("SIGTERM")
    await network.routed(0, false)
    await node.startBird()
    const [up, there] = await Promise.all([
      at("sessions", () => sessionsUp(node)),
      at("both prefixes", () => network.isRouted(0))
    ])
    times.push(Math.max(0, there - up))
  }
  return times
}

/** CPU milliseconds of a process so far (`utime` and `stime` of proc_pid_stat(5), in hundredths of a second). */
const cpuOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** One pod's readiness to a BIRD router's kernel, by the sessions that the options make. */
const readiness = async (
  name: string,
  options: { readonly unnumbered?: boolean },
  log: (line: string) => void
): Promise<ReadonlyArray<Row>> => {
  await using world = new World()
  const network = await Network.open(world, { nodes: 1, router: "bird", ...options })
  const { down, up } = await flips(network, FLIPS, log)
  return [["Ready → announced", up] as const, ["not Ready → withdrawn", down] as const].map(([what, times]) => ({
    name: `${name}: ${what}, p50`,
    value: median(times),
    unit: "ms",
    target: 8,
    note: `${times.length} flips, p99 ${percentile(times, 0.99).toFixed(1)} ms`
  }))
}

export const bgp: Bench = {
  name: "bgp",
  title: "BGP: configuration, announcement, idle agent (1 node; an FRR router unless it says otherwise)",
  seconds: { once: 110, round: 8 },
  run: async ({ log, rounds }) => {
    const rows: Array<Row> = []
    const renderings = rendering()
    rows.push({
      name: "render 1,000 addresses and 8 peers, p50",
      value: median(renderings),
      unit: "ms",
      target: 5,
      note: `${renderings.length} renderings, CPU time, p99 ${percentile(renderings, 0.99).toFixed(1)} ms`
    })
    rows.push(...await readiness("two sessions of a BIRD router", {}, log))
    rows.push(...await readiness("an unnumbered one", { unnumbered: true }, log))
    await using world = new World()
    const network = await Network.open(world, { nodes: 1 })
    const node = network.node(0)
    const pid = node.agent?.pid
    if (pid === undefined) throw new Error("the agent has no process")
    await until("sessions", () => sessionsUp(node))
    const edits = await editing(node, 4 * rounds)
    rows.push({
      name: "NodeConfig edit → BIRD runs it, p50",
      value: median(edits),
      unit: "ms",
      target: 50,
      note: `${edits.length} edits, worst ${Math.max(...edits).toFixed(1)} ms`
    })
    const announcements = await announcing(network, rounds)
    rows.push({
      name: "sessions up → prefixes in the router's kernel, worst",
      value: Math.max(...announcements),
      unit: "ms",
      target: 1000,
      note: `${announcements.length} starts of BIRD`
    })
    log(`idle for ${IDLE_SECONDS} s`)
    await until("sessions", () => sessionsUp(node))
    await sleep(6000)
    const [before, start] = [cpuOf(pid), performance.now()]
    await sleep(IDLE_SECONDS * 1000)
    rows.push({
      name: "agent idle, of one core",
      value: (cpuOf(pid) - before) / (performance.now() - start) * 100,
      unit: "%",
      target: 0.5,
      note: `${IDLE_SECONDS} s, 2 sessions`
    })
    return rows
  }
}
