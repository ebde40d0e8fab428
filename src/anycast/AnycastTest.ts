/** An {@link Anycast} that says what a test tells it. */
import { Context, Effect, Layer, Ref, Stream, SubscriptionRef } from "effect"
import type { IpAddress } from "../domain/Ip.ts"
import { Anycast } from "./Anycast.ts"
import type { AnycastAddress } from "./AnycastAddress.ts"

export class AnycastTest extends Context.Service<AnycastTest, {
  readonly setStatus: (addresses: ReadonlyArray<AnycastAddress>) => Effect.Effect<void>
  readonly setExportSet: (addresses: ReadonlyArray<IpAddress>) => Effect.Effect<void>
}>()("flock/AnycastTest") {}

export const layerTest = (
  initial: { readonly status?: ReadonlyArray<AnycastAddress>; readonly exportSet?: ReadonlyArray<IpAddress> } = {}
): Layer.Layer<Anycast | AnycastTest> =>
  Layer.effectContext(Effect.gen(function*() {
    const status = yield* SubscriptionRef.make(initial.status ?? [])
    const exportSet = yield* Ref.make(initial.exportSet ?? [])
    const service = Anycast.of({
      run: Effect.never,
      held: SubscriptionRef.get(status),
      status: SubscriptionRef.get(status),
      changes: Stream.map(SubscriptionRef.changes(status), () => undefined),
      publish: Effect.void,
      exportSet: Ref.get(exportSet)
    })
    const test = AnycastTest.of({
      setStatus: (addresses) => SubscriptionRef.set(status, addresses),
      setExportSet: (addresses) => Ref.set(exportSet, addresses)
    })
    return Context.make(Anycast, service).pipe(Context.add(AnycastTest, test))
  }))
