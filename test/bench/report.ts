/** Figures of the bench: statistics, one row per figure with its target, and the table that people read. */

export interface Row {
  readonly name: string
  readonly value: number
  readonly unit: "ms" | "MB" | "×" | "%" | "/s"
  /** The value must not be above `target`; a row without one is for reading only. */
  readonly target?: number
  /** What the value is out of, such as `60 calls`. */
  readonly note?: string
}

/** One file of the bench. `run` fails only if it could not measure. */
export interface Bench {
  readonly name: string
  readonly title: string
  /** Seconds in any case, and for each round, as seen on two processors that others used too: an idle machine needs less. */
  readonly seconds: { readonly once: number; readonly round: number }
  readonly run: (options: Options) => Promise<ReadonlyArray<Row>>
}

export interface Options {
  /** Paired rounds per comparison. */
  readonly rounds: number
  readonly log: (line: string) => void
}

/** Nearest-rank percentile (`q` from 0 to 1) of at least one value. */
export const percentile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const value = sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]
  if (value === undefined) throw new RangeError("a percentile of no values")
  return value
}

export const median = (values: ReadonlyArray<number>): number => percentile(values, 0.5)

/** Of a Prometheus histogram, cumulative. */
export interface Bucket {
  readonly le: number
  readonly count: number
}

/**
 * The percentile of what a histogram took between two looks, by interpolation within a bucket as PromQL's
 * `histogram_quantile` does; undefined if it took nothing.
 */
export const bucketQuantile = (
  q: number,
  before: ReadonlyArray<Bucket>,
  after: ReadonlyArray<Bucket>
): number | undefined => {
  const counts = after.map(({ count, le }, i) => ({ le, count: count - (before[i]?.count ?? 0) }))
  const rank = q * (counts.at(-1)?.count ?? 0)
  const index = counts.findIndex(({ count }) => count >= rank)
  const bucket = counts[index]
  if (rank === 0 || bucket === undefined) return undefined
  const below = counts[index - 1] ?? { le: 0, count: 0 }
  // Nothing is known of how far beyond the last boundary it is.
  if (bucket.le === Infinity) return below.le
  return below.le + (bucket.le - below.le) * (rank - below.count) / (bucket.count - below.count)
}

/** Median of the rounds' own ratios: what slows one round of the machine slows both sides of it. */
export const pairedRatio = (
  peer: ReadonlyArray<ReadonlyArray<number>>,
  ours: ReadonlyArray<ReadonlyArray<number>>
): number => median(ours.map((round, i) => median(peer[i] ?? []) / median(round)))

export const passes = (row: Row): boolean | undefined => row.target === undefined ? undefined : row.value <= row.target

const number = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

/** Lines of text, columns aligned. `busy` says why no target is judged. */
export const table = (title: string, rows: ReadonlyArray<Row>, busy?: string): string => {
  const cells = rows.map((row) => {
    const pass = passes(row)
    return [
      row.name,
      `${number(row.value)} ${row.unit}`,
      row.target === undefined ? "" : `≤ ${row.target} ${row.unit}`,
      pass === undefined ? "" : busy !== undefined ? "machine busy" : pass ? "pass" : "FAIL",
      row.note ?? ""
    ]
  })
  const head = ["", "measured", "target", "", ""]
  const widths = head.map((text, i) => Math.max(text.length, ...cells.map((line) => (line[i] ?? "").length)))
  const line = (texts: ReadonlyArray<string>) =>
    `  ${
      texts.map((text, i) => i === 1 || i === 2 ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)).join(
        "  "
      )
    }`.trimEnd()
  return [title, ...(busy === undefined ? [] : [`  ${busy}`]), line(head), ...cells.map(line)].join("\n")
}
