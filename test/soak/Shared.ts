/** Something that several faults hold down at once: the first takes it down, the last that lets go raises it. */
export class Shared {
  readonly #raise: () => Promise<void>
  #holders = 0
  #queue: Promise<unknown> = Promise.resolve()

  constructor(raise: () => Promise<void>) {
    this.#raise = raise
  }

  get isDown(): boolean {
    return this.#holders > 0
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(task)
    this.#queue = done.catch(() => undefined)
    return done
  }

  take(down: () => Promise<void>): Promise<void> {
    return this.#inTurn(async () => {
      if (++this.#holders === 1) await down()
    })
  }

  release(): Promise<void> {
    return this.#inTurn(async () => {
      if (--this.#holders === 0) await this.#raise()
    })
  }
}
