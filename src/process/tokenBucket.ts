/** A limit on how often: so many at once, then so many a second. Pure; times are of `monotonicMillis`. */
export interface Limit {
  readonly burst: number
  readonly perSecond: number
}

export interface TokenBucket {
  readonly tokens: number
  readonly at: number
}

export const full = (limit: Limit, now: number): TokenBucket => ({ tokens: limit.burst, at: now })

/** One token, if there is one. */
export const take = (bucket: TokenBucket, limit: Limit, now: number): readonly [taken: boolean, left: TokenBucket] => {
  const tokens = Math.min(limit.burst, bucket.tokens + Math.max(0, now - bucket.at) * limit.perSecond / 1000)
  return tokens < 1 ? [false, { tokens, at: now }] : [true, { tokens: tokens - 1, at: now }]
}
