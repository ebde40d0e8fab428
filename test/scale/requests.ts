/** What the agents of this process ask, as their own metric counts it. */
import { Effect, Metric } from "effect"

export type Counts = ReadonlyMap<string, number>

/** Answers by `verb resource code`; code 0: none. */
export const counts = (): Counts => {
  const metrics = Metric.snapshotUnsafe(Effect.runSync(Effect.context<never>()))
  return new Map(
    metrics.filter(({ id }) => id === "flock_kube_requests_total").map(({ attributes, state }) => [
      `${attributes?.["verb"]} ${attributes?.["resource"]} ${attributes?.["code"]}`,
      Number((state as { readonly count: number | bigint }).count)
    ])
  )
}

export const since = (before: Counts, after: Counts = counts()): Counts =>
  new Map([...after].map(([key, n]) => [key, n - (before.get(key) ?? 0)] as const).filter(([, n]) => n > 0))

export const total = (all: Counts, of: RegExp): number =>
  [...all].reduce((sum, [key, n]) => of.test(key) ? sum + n : sum, 0)

/** That change something. */
export const WRITES = /^(create|patch) /
export const ANSWERED = / [1-9]\d\d$/
export const REFUSED = / (401|403|404|409|410|429|500|503|504)$/

/** Counts at the start and each second after it. */
export class Recording {
  readonly #seconds: Array<Counts> = [counts()]
  readonly #timer = setInterval(() => this.#seconds.push(counts()), 1000)

  stop(): { readonly all: Counts; readonly peak: (of: RegExp) => number } {
    clearInterval(this.#timer)
    const last = counts()
    const first = this.#seconds[0] ?? last
    const steps = [...this.#seconds, last]
    return {
      all: since(first, last),
      /** The most in one second. */
      peak: (of) => Math.max(...steps.slice(1).map((after, i) => total(since(steps[i] ?? after, after), of)), 0)
    }
  }
}
