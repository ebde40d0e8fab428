/** Packets: all along to pods that nothing happens to, and at rest between pods and the client. */
import type { Wanted } from "../../lab/agreement.ts"
import { CLIENT4, CLIENT6 } from "../../lab/Lan.ts"
import { ping, pinging } from "../../lab/ping.ts"
import type { Random } from "./random.ts"
import type { Figures } from "./report.ts"
import type { SoakNode } from "./SoakNode.ts"

const isSix = (address: string): boolean => address.includes(":")

/** The result stops the pings and says what was lost. `lossy`: nodes that were cut; `restarted`: those whose BIRD was killed. */
export const watchWitnesses = (client: string, nodes: ReadonlyArray<SoakNode>, figures: Figures) => {
  const watched = nodes.flatMap((soak, node) =>
    (soak.witness.container?.wanted.addresses ?? []).map((address) => ({
      node,
      address,
      pings: pinging(client, address, 50)
    }))
  )
  return async (lossy: ReadonlySet<number>, restarted: ReadonlySet<number>): Promise<ReadonlyArray<string>> => {
    const results = await Promise.all(watched.map(async ({ pings, ...one }) => ({ ...one, ...await pings.stop() })))
    return results.filter(({ node }) => !lossy.has(node)).flatMap(({ address, node, received, sent, text }) => {
      const figure = restarted.has(node) ? "restarts" : "witness"
      figures[figure].sent += sent
      figures[figure].lost += sent - received
      if (sent === received || restarted.has(node)) return []
      const answers = text.split("\n").filter((line) => line.startsWith("From")).slice(0, 3).join("; ")
      return [`${sent - received} of ${sent} pings to ${address}, whose pod was left alone, are lost: ${answers}`]
    })
  }
}

interface Place extends Wanted {
  readonly netns: string
}

/** An address that an operator chose is announced only while its pod is Ready. */
const reachable = (pod: Wanted) => pod.addresses.filter((address) => pod.ready || !pod.follows.includes(address))

/** Who pings whom: some pods and the client, two pods, some announced addresses; both families. */
const pairsOf = (
  client: string,
  pods: ReadonlyArray<Place>,
  random: Random
): ReadonlyArray<readonly [string, string]> => {
  const due = random.some(pods.filter(({ ready }) => ready).flatMap(({ follows }) => follows), 3)
  const [one, other] = random.some(pods, 2)
  const between = one === undefined || other === undefined
    ? []
    : reachable(other).filter((address) => reachable(one).some((own) => isSix(own) === isSix(address)))
      .map((address) => [one.netns, address] as const)
  return [
    ...random.some(pods, 6).flatMap((pod) =>
      reachable(pod).flatMap((address) => [
        [pod.netns, isSix(address) ? CLIENT6 : CLIENT4] as const,
        [client, address] as const
      ])
    ),
    ...due.map((address) => [client, address] as const),
    ...between
  ]
}

/** One ping for each pair, which must be answered. */
export const traffic = async (
  client: string,
  nodes: ReadonlyArray<SoakNode>,
  figures: Figures,
  random: Random
): Promise<ReadonlyArray<string>> => {
  const pods = nodes.flatMap(({ slots }) =>
    slots.flatMap(({ container, netns }) => container === undefined ? [] : [{ netns, ...container.wanted }])
  )
  const results = await Promise.all(
    pairsOf(client, pods, random).map(async ([netns, target]) => ({ netns, target, ...await ping(netns, target) }))
  )
  figures.pings += results.length
  return results.filter(({ received }) => received === 0)
    .map(({ netns, target, text }) => `no answer from ${target} to ${netns}: ${text}`)
}
