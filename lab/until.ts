/** Time, for those who must wait for another process. */

/** Milliseconds since the epoch, finer than `Date.now()`. */
export const now = (): number => performance.timeOrigin + performance.now()

export const sleep = (milliseconds: number): Promise<void> => new Promise((done) => setTimeout(done, milliseconds))

/**
 * Asks `probe` every 20 ms until it gives something; a probe that throws is asked again. After `seconds` it fails, and
 * says `what` was waited for and how the last probe failed.
 */
export const until = async <A>(
  what: string,
  probe: () => A | undefined | false | Promise<A | undefined | false>,
  seconds = 10
): Promise<A> => {
  const end = performance.now() + seconds * 1000
  let last: unknown
  while (performance.now() < end) {
    try {
      const value = await probe()
      if (value !== undefined && value !== false) return value
    } catch (error) {
      last = error
    }
    await sleep(20)
  }
  throw new Error(`${what}: not within ${seconds} s${last === undefined ? "" : ` (${String(last)})`}`)
}
