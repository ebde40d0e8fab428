/** Pings and HTTP from the client all along, and what of them was lost. */
import { fetchLoop, urlOf } from "../../lab/http.ts"
import { pinging } from "../../lab/ping.ts"
import type { World } from "../../lab/World.ts"

export interface Losses {
  readonly pings: number
  readonly fetches: number
  /** One line for each address that lost pings and each failed fetch; empty: nothing was lost. */
  readonly lost: ReadonlyArray<string>
}

/** Which of `sent` pings have no reply in what ping printed: `1-42, 977`. */
const missing = (text: string, sent: number): string => {
  const answered = new Set([...text.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, number]) => Number(number)))
  const ranges: Array<[number, number]> = []
  for (let i = 1; i <= sent; i++) {
    const last = ranges.at(-1)
    if (answered.has(i)) continue
    if (last !== undefined && last[1] === i - 1) last[1] = i
    else ranges.push([i, i])
  }
  return ranges.map(([from, to]) => from === to ? from : `${from}-${to}`).join(", ")
}

/** Every 10 ms a ping to each address, and one HTTP request after another, while `task` runs. */
export const lossesDuring = async (
  world: World,
  client: string,
  addresses: ReadonlyArray<string>,
  task: () => Promise<unknown>
): Promise<Losses> => {
  const pings = addresses.map((address) => ({ address, ...pinging(client, address) }))
  const loop = fetchLoop(world, client, addresses.map((address) => urlOf(address)))
  let failure: unknown
  await task().catch((error: unknown) => failure = error)
  await loop.stop()
  const results = await Promise.all(pings.map(async ({ address, stop }) => ({ address, ...await stop() })))
  if (failure !== undefined) throw failure
  return {
    pings: results.reduce((sum, { sent }) => sum + sent, 0),
    fetches: loop.fetches.length,
    lost: [
      ...results.filter(({ received, sent }) => received < sent).map(({ address, received, sent, text }) =>
        `${sent - received} of ${sent} pings to ${address}: ${missing(text, sent)}`
      ),
      ...loop.fetches.flatMap(({ error, start, url }) =>
        error === undefined ? [] : [`${url} at ${new Date(start).toISOString()}: ${error}`]
      )
    ]
  }
}
