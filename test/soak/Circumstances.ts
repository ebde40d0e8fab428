/** What was the case, and when: faults and edits that excuse an answer. */
import type { Circumstance } from "./model.ts"

interface Interval {
  readonly what: Circumstance
  /** The pod that it concerns; undefined: the whole node. */
  readonly pod: string | undefined
  /** Milliseconds of `performance.now()`. */
  readonly from: number
  to: number
}

export class Circumstances {
  #intervals: Array<Interval> = []

  /** Begins now; the result ends it. */
  begin(what: Circumstance, pod?: string): () => void {
    const interval: Interval = { what, pod, from: performance.now(), to: Number.POSITIVE_INFINITY }
    this.#intervals.push(interval)
    return () => {
      interval.to = performance.now()
    }
  }

  /** Whatever was the case at any moment since `from`. */
  since(from: number, pod?: string): ReadonlySet<Circumstance> {
    return new Set(
      this.#intervals.filter((interval) => interval.to >= from && (interval.pod === undefined || interval.pod === pod))
        .map(({ what }) => what)
    )
  }

  sinceAny(from: number, which: ReadonlyArray<Circumstance>): boolean {
    const found = this.since(from)
    return which.some((what) => found.has(what))
  }

  /** Forgets what ended before `before`. */
  trim(before: number): void {
    this.#intervals = this.#intervals.filter(({ to }) => to >= before)
  }
}
