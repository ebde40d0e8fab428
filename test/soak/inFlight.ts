/** Runs tasks in order, so many at a time; `onStart` is told each one's index. */
export const inFlight = async (
  tasks: ReadonlyArray<() => Promise<void>>,
  limit: number,
  onStart: (index: number) => void,
  onError: (error: unknown) => void
): Promise<void> => {
  const running = new Set<Promise<void>>()
  for (const [i, task] of tasks.entries()) {
    while (running.size >= limit) await Promise.race(running)
    onStart(i)
    const one: Promise<void> = task().catch(onError).finally(() => running.delete(one))
    running.add(one)
  }
  await Promise.all(running)
}
