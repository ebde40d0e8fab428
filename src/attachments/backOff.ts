/**
 * How often the same thing is put right. Once, at once; but where another program wants it otherwise, neither side wins by
 * being quick, so each time costs twice the wait of the last. Pure.
 */

/** Repairs of one thing that came one after another. */
export interface Streak {
  readonly repairs: number
  /** Of the last one. Monotonic milliseconds, here and below. */
  readonly at: number
}

const FIRST_WAIT = 50
/** Two pods' worth of work a second, however long it goes on. */
const LONGEST_WAIT = 2000
/** Without a difference for this long, it is over. */
export const QUIET = 10_000
/** So many repairs in a row are no accident. */
export const FIGHT = 5

const isOver = (streak: Streak, now: number): boolean => now - streak.at > QUIET

/** When a difference that is seen `now` may be repaired. */
export const dueAt = (streak: Streak | undefined, now: number): number =>
  streak === undefined || isOver(streak, now)
    ? now
    : Math.max(now, streak.at + Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (streak.repairs - 1)))

export const repaired = (streak: Streak | undefined, now: number): Streak => ({
  repairs: streak === undefined || isOver(streak, now) ? 1 : streak.repairs + 1,
  at: now
})

export const isFight = (streak: Streak | undefined, now: number): boolean =>
  streak !== undefined && streak.repairs >= FIGHT && !isOver(streak, now)

/** Those that are not over. */
export const current = (streaks: ReadonlyMap<string, Streak>, now: number): ReadonlyMap<string, Streak> =>
  new Map([...streaks].filter(([, streak]) => !isOver(streak, now)))
