/** A soak's figures for people. */
import type { FaultKind } from "./plan.ts"

export interface Figures {
  rounds: number
  operations: number
  faults: Partial<Record<FaultKind, number>>
  pings: number
  /** Of pings to pods that nothing happens to, in rounds without a fault that cuts their node. */
  witness: { sent: number; lost: number }
  /** The same where only BIRD was killed. */
  restarts: { sent: number; lost: number }
  /** Milliseconds from the last operation's end until all agreed. */
  settled: Array<number>
  /** Most that an agent had at rest. */
  descriptors: number
  memory: number
  audits: number
}

export const noFigures = (): Figures => ({
  rounds: 0,
  operations: 0,
  faults: {},
  pings: 0,
  witness: { sent: 0, lost: 0 },
  restarts: { sent: 0, lost: 0 },
  settled: [],
  descriptors: 0,
  memory: 0,
  audits: 0
})

const sum = (values: Iterable<number>): number => [...values].reduce((a, b) => a + b, 0)

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`

export const report = (figures: Figures, milliseconds: number): ReadonlyArray<string> => {
  const { audits, descriptors, faults, memory, operations, pings, restarts, rounds, settled, witness } = figures
  const times = settled.toSorted((a, b) => a - b)
  const at = (share: number): string => seconds(times[Math.floor((times.length - 1) * share)] ?? Number.NaN)
  const kinds = Object.entries(faults).toSorted(([, a], [, b]) => b - a).map(([kind, count]) => `${kind} ${count}`)
  return [
    `${operations} operations and ${sum(Object.values(faults))} faults in ${rounds} rounds, ${
      (milliseconds / 60_000).toFixed(1)
    } min`,
    `faults: ${kinds.join(", ")}`,
    `agreed after each round within ${at(0.5)} (median), ${at(0.95)} (95 %), ${
      at(1)
    } (most); ${audits} audits, ${pings} pings answered`,
    `pings to pods that were left alone: ${witness.lost} of ${witness.sent} lost; ${restarts.lost} of ${restarts.sent} where BIRD was killed`,
    `agent at rest, most: ${descriptors} descriptors, ${Math.round(memory / 1024)} MiB`
  ]
}
