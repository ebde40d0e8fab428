/**
 * What flows between a client behind a spine and a pod of a node on two leaves lose when something goes. Outwards is what
 * the node decides; inwards is what the fabric does (FRR 8.4, BFD between leaves and spine).
 */
import { leafAsn } from "../../lab/Fabric.ts"
import { LeafNode, type LeafNodeOptions, type Suffered } from "../../lab/LeafNode.ts"
import { sleep } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Bench, Row } from "./report.ts"

interface Event {
  readonly name: string
  readonly begin: (lab: LeafNode) => Promise<unknown>
  /** Milliseconds of silence outwards; absent: for reading only. */
  readonly target?: number
  /** The end of it, where that is an event too. */
  readonly back?: (lab: LeafNode) => Promise<unknown>
}

const events = (bfd: boolean): ReadonlyArray<Event> => [
  {
    name: "a leaf loses its power",
    begin: ({ fabric }) => fabric.leaf(0).kill(),
    target: 100,
    back: async (lab) => {
      await lab.fabric.leaf(0).revive()
      await lab.whole()
    }
  },
  {
    name: "a link is cut",
    begin: ({ fabric }) => fabric.cut(0, 0),
    target: 100
  },
  {
    name: "a link falls silent, its carrier stays",
    begin: async ({ fabric }) => fabric.silence(0, 0),
    target: bfd ? 1000 : 10_000
  },
  {
    name: "a leaf loses its spine",
    begin: ({ fabric }) => fabric.leaf(0).uplink("down")
  },
  {
    name: "a leaf's daemons end",
    begin: ({ fabric }) => fabric.leaf(0).stop(),
    target: 100
  },
  {
    name: "a leaf says that it goes (graceful-shutdown)",
    begin: ({ fabric }) => fabric.leaf(0).configure(`router bgp ${leafAsn(0)}`, "bgp graceful-shutdown"),
    target: 0
  },
  {
    name: "BIRD is killed and started",
    begin: async ({ node }) => {
      await node.stopBird("SIGKILL")
      await node.startBird()
    },
    target: 0
  }
]

const rowsOf = (name: string, { in: inwards, out }: Suffered, target: number | undefined): ReadonlyArray<Row> => {
  const words = (what: Suffered["in"]) =>
    `lost ${what.ipv6.lost} of ${what.ipv6.sent} IPv6, ${what.ipv4.lost} of ${what.ipv4.sent} IPv4`
  const silence = (what: Suffered["in"]) => Math.max(what.ipv6.silence, what.ipv4.silence)
  return [
    { name, value: silence(out), unit: "ms", ...(target === undefined ? {} : { target }), note: words(out) },
    { name: "  inwards", value: silence(inwards), unit: "ms", note: words(inwards) }
  ]
}

/** Each event meets a fabric that has seen none. */
const measure = async (title: string, options: LeafNodeOptions, log: (line: string) => void) => {
  const rows: Array<Row> = []
  for (const { back, begin, name, target } of events(options.bfd === true)) {
    await using world = new World()
    const lab = await LeafNode.open(world, options)
    await sleep(1000)
    // A silent link is found by the hold timer, of 9 s.
    const seconds = name.includes("silent") ? 11 : 3
    rows.push(...rowsOf(`${title}: ${name}`, await lab.during(() => begin(lab), seconds), target))
    if (back !== undefined) rows.push(...rowsOf(`${title}: it is back`, await lab.during(() => back(lab)), undefined))
    log(`${title}: ${name}: ${rows.slice(back === undefined ? -2 : -4).map(({ value }) => `${value} ms`).join(", ")}`)
  }
  return rows
}

export const leaves: Bench = {
  name: "leaves",
  title: "Two leaves (FRR): the longest silence of one flow out of the node, and in",
  seconds: { once: 360, round: 0 },
  run: async ({ log }) => [
    ...await measure("no BFD", {}, log),
    ...await measure("BFD", { bfd: true }, log),
    ...await measure("unnumbered, BFD", { bfd: true, unnumbered: true }, log)
  ]
}
