/**
 * What `flock-agent withdraw` costs the flows that have to move, in a fabric of FRR: two nodes with the same eight anycast
 * addresses, each behind a leaf of its own, so that leaves and spine must find the other way one after the other.
 */
import { AgentNode } from "../../lab/AgentNode.ts"
import { Fabric, fabricPeers } from "../../lab/Fabric.ts"
import { nodeSpec } from "../../lab/Network.ts"
import { pinging } from "../../lab/ping.ts"
import { Pod } from "../../lab/Pod.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { type Bench, median, type Row } from "./report.ts"

const ADDRESSES = Array.from({ length: 8 }, (_, i) => `2001:db8:a::${i + 1}`)
/** Milliseconds between pings. */
const EVERY = 4
const SECONDS = 6

const openFabric = async (world: World) => {
  const nodes = await Promise.all([0, 1].map((i) =>
    AgentNode.open(world, {
      name: `node${i + 1}`,
      flags: [],
      spec: nodeSpec(i, {
        importCIDRs: ["::/0", "0.0.0.0/0"],
        // leaf i alone
        peers: fabricPeers(i).slice(2 * i, 2 * i + 2),
        withdraw: { gracefulShutdownSeconds: SECONDS }
      })
    })
  ))
  const fabric = await Fabric.open(world, { nodes: nodes.map(({ netns }) => netns) })
  for (const [i, node] of nodes.entries()) {
    await node.start()
    await node.startBird()
    const pod = await Pod.start(node, `pod${i}`, { anycast: ADDRESSES })
    pod.set({ ready: true })
  }
  const ways = (count: number) =>
    until(`${count} ways in the spine`, async () => {
      const routes = await fabric.spine.kernelRoutes(6)
      return ADDRESSES.every((address) => routes.get(address)?.length === count)
    }, 40)
  await ways(2)
  return { fabric, node: nodes[0], ways }
}

/** Milliseconds that the flow lost that lost most while `happens`. */
const worst = async (client: string, happens: () => Promise<unknown>): Promise<number> => {
  const pings = ADDRESSES.map((address) => pinging(client, address, EVERY))
  await sleep(500)
  await happens()
  const results = await Promise.all(pings.map((ping) => ping.stop()))
  return EVERY * Math.max(...results.map(({ received, sent }) => sent - received))
}

const row = (name: string, values: ReadonlyArray<number>): Row => ({
  name,
  value: median(values),
  unit: "ms",
  note: `the flow that lost most of ${ADDRESSES.length}, ${values.length} times: ${values.join(", ")}`
})

export const withdraw: Bench = {
  name: "withdraw",
  title: "flock-agent withdraw, in a fabric of FRR: milliseconds without an answer",
  seconds: { once: 40, round: 40 },
  run: async ({ log, rounds }) => {
    const world = new World()
    try {
      const { fabric, node, ways } = await openFabric(world)
      if (node === undefined) throw new RangeError("no node")
      const [move, end, now]: [Array<number>, Array<number>, Array<number>] = [[], [], []]
      const back = async () => {
        await node.tool("restore")
        await ways(2)
        await sleep(1000)
      }
      for (let i = 0; i < rounds; i++) {
        let done: Promise<unknown> = Promise.resolve()
        move.push(
          await worst(fabric.client, async () => {
            done = node.tool("withdraw")
            await ways(1)
            await sleep(500)
          })
        )
        end.push(
          await worst(fabric.client, async () => {
            await done
            await sleep(1000)
          })
        )
        await back()
        now.push(
          await worst(fabric.client, async () => {
            await node.tool("withdraw", "--now")
            await sleep(1000)
          })
        )
        await ways(1)
        await back()
        log(`round ${i + 1} of ${rounds}`)
      }
      return [
        row("withdraw: GRACEFUL_SHUTDOWN moves the flows", move),
        row("withdraw: the sessions end", end),
        row("withdraw --now: the sessions end", now)
      ]
    } finally {
      await world.close()
    }
  }
}
