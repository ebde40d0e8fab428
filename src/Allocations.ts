/** Committed allocations: in memory, and one file each under the state directory. */
import { Context, Data, type Effect, type Option, type Stream } from "effect"
import type { Allocation } from "./Allocation.ts"

export class StoreError extends Data.TaggedError("StoreError")<{ readonly file: string; readonly detail: string }> {
  override get message(): string {
    return `${this.file}: ${this.detail}`
  }
}

export class Allocations extends Context.Service<Allocations, {
  readonly list: Effect.Effect<ReadonlyArray<Allocation>>
  /** By `attachmentKey`. */
  readonly get: (key: string) => Effect.Effect<Option.Option<Allocation>>
  /** Written and renamed before it is visible in `list`. */
  readonly commit: (allocation: Allocation) => Effect.Effect<void, StoreError>
  /** Idempotent. */
  readonly remove: (key: string) => Effect.Effect<void, StoreError>
  /** Emits after every commit and removal; bursts may come as one. */
  readonly changes: Stream.Stream<void>
  /** Records that could not be read at start and were set aside. */
  readonly unreadable: Effect.Effect<number>
}>()("flock/Allocations") {}
