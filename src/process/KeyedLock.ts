import { Effect, Semaphore } from "effect"

/** One permit per key; keys are forgotten when nobody holds or waits for them. */
export interface KeyedLock {
  readonly withLock: (key: string) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const make: Effect.Effect<KeyedLock> = Effect.sync(() => {
  const entries = new Map<string, { readonly semaphore: Semaphore.Semaphore; users: number }>()
  return {
    withLock: (key) => (self) =>
      Effect.suspend(() => {
        const entry = entries.get(key) ?? { semaphore: Semaphore.makeUnsafe(1), users: 0 }
        entries.set(key, entry)
        entry.users++
        return entry.semaphore.withPermit(self).pipe(Effect.ensuring(Effect.sync(() => {
          if (--entry.users === 0) entries.delete(key)
        })))
      })
  }
})
