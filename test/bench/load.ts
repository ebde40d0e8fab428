/** Whether others use the machine: a figure measured beside them says nothing, whether it is good or bad. */
import { readFileSync } from "node:fs"
import { sleep } from "../../lab/until.ts"

/** Clock ticks of all processors since boot (proc_stat(5)). */
export interface Ticks {
  readonly busy: number
  readonly all: number
}

/** Of `/proc/stat`'s first line: idle and iowait are free, and guests are in user and nice already. */
export const ticksOf = (stat: string): Ticks => {
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] =
    /^cpu +(.*)$/m.exec(stat)?.[1]?.split(" ").map(Number) ?? []
  const busy = user + nice + system + irq + softirq + steal
  return { busy, all: busy + idle + iowait }
}

/** Of all processors' time, 0 to 1; 0 where no tick has passed. */
export const share = (from: Ticks, to: Ticks): number =>
  to.all === from.all ? 0 : (to.busy - from.busy) / (to.all - from.all)

/** Of all processors' time: above it, figures of milliseconds waver by more than their targets allow. */
export const BUSY = 0.1

/**
 * What others use while this process waits, in the quietest of some seconds: a kernel that still tidies up after the bench
 * comes to rest, another's work does not.
 */
export const othersShare = async (
  read: () => string = () => readFileSync("/proc/stat", "utf8"),
  wait: () => Promise<void> = () => sleep(1000)
): Promise<number> => {
  let least = 1
  for (let i = 0; i < 5 && least > BUSY; i++) {
    const from = ticksOf(read())
    await wait()
    least = Math.min(least, share(from, ticksOf(read())))
  }
  return least
}

/** Of the shares seen before and after a bench; undefined: its figures count. */
export const busyWords = (before: number, after: number): string | undefined => {
  const percent = (part: number) => `${Math.round(part * 100)} %`
  return Math.max(before, after) <= BUSY
    ? undefined
    : `MACHINE BUSY: others used ${percent(before)} of its processors before and ${
      percent(after)
    } after: not to be quoted, and no target is judged`
}
