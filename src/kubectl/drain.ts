/** When the routers' traffic has left a node, from what it forwards; and when its sessions are back. Pure. */
import { record, records } from "../domain/record.ts"

/** Forwarded packets a second below which nothing of a client is left: pods still try to reach somebody. */
export const QUIET_PACKETS = 20

/** Whether the last looks, a second apart, say that traffic has gone. */
export const isQuiet = (packets: ReadonlyArray<number>, looks = 3): boolean => {
  const rates = packets.slice(1).map((now, i) => now - (packets[i] ?? now))
  return rates.length >= looks && rates.slice(-looks).every((rate) => rate >= 0 && rate < QUIET_PACKETS)
}

/** Of `flock-agent traffic --json`. */
export const packetsIn = (answer: unknown): number => Number(record(answer)["forwardedPackets"] ?? 0)

export interface Sessions {
  readonly established: number
  readonly all: number
}

/** Of `flock-agent status --json`. */
export const sessionsIn = (answer: unknown): Sessions => {
  const { peers } = record(record(answer)["bird"])
  const states = records(peers).map(({ state }) => state)
  return { established: states.filter((state) => state === "Established").length, all: states.length }
}
