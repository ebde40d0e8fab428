/** When the routers' traffic has left a node, from its pods' bytes; and when its sessions are back. Pure. */
import { record } from "../domain/record.ts"

/** Bytes a second below which nothing of a client is left: neighbour discovery and probes of kubelet stay. */
export const QUIET_BYTES = 2000

/** Whether the last looks, a second apart, say that traffic has gone. */
export const isQuiet = (bytes: ReadonlyArray<number>, looks = 3): boolean => {
  const rates = bytes.slice(1).map((now, i) => now - (bytes[i] ?? now))
  return rates.length >= looks && rates.slice(-looks).every((rate) => rate >= 0 && rate < QUIET_BYTES)
}

/** Of `flock-agent traffic --json`. */
export const bytesIn = (answer: unknown): number => Number(record(answer)["podBytes"] ?? 0)

export interface Sessions {
  readonly established: number
  readonly all: number
}

/** Of `flock-agent status --json`. */
export const sessionsIn = (answer: unknown): Sessions => {
  const { peers } = record(record(answer)["bird"])
  const states = (Array.isArray(peers) ? peers : []).map((peer) => record(peer)["state"])
  return { established: states.filter((state) => state === "Established").length, all: states.length }
}
