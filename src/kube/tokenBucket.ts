/** A rate limit: so many at once, then one every so often. Pure; times are of `monotonicMillis`. */
export interface Limit {
  readonly burst: number
  readonly refillMillis: number
}

export interface Bucket {
  readonly tokens: number
  readonly refilledAt: number
}

export const full = ({ burst }: Limit, now: number): Bucket => ({ tokens: burst, refilledAt: now })

/** Takes one; the number of milliseconds to wait before it may be used, and before the next is taken. */
export const take = ({ burst, refillMillis }: Limit, bucket: Bucket, now: number): readonly [Bucket, number] => {
  const refills = Math.floor((now - bucket.refilledAt) / refillMillis)
  const tokens = bucket.tokens + refills
  if (tokens >= burst) return [{ tokens: burst - 1, refilledAt: now }, 0]
  const refilledAt = bucket.refilledAt + refills * refillMillis
  return tokens > 0
    ? [{ tokens: tokens - 1, refilledAt }, 0]
    : [{ tokens: 0, refilledAt: refilledAt + refillMillis }, refilledAt + refillMillis - now]
}
