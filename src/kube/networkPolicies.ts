/**
 * Whether the cluster has NetworkPolicies, which flock does not enforce: whoever leaves a CNI that does loses them all without
 * a word. Asked at the start and about once a day, one object of one page.
 */
import { Effect, Random, Ref } from "effect"
import { record, records } from "../domain/record.ts"
import type { ApiError } from "./access.ts"
import type { Policies } from "./apiHealth.ts"
import type { Client } from "./client.ts"

const AGAIN = { known: 86_400_000, refused: 300_000 }

/** Of a list with limit 1; undefined: there is none. */
export const policiesOf = (list: unknown): Policies | undefined => {
  const { items, metadata } = record(list)
  const [first] = records(items)
  if (first === undefined) return undefined
  const { name, namespace } = record(first["metadata"])
  const more = Number(record(metadata)["remainingItemCount"] ?? 0)
  return { example: `${String(namespace)}/${String(name)}`, count: 1 + more }
}

export const make = Effect.fnUntraced(function*(client: Client) {
  const found = yield* Ref.make<Policies | undefined>(undefined)

  const look: Effect.Effect<void, ApiError> = client.request({
    verb: "list",
    resource: "networkpolicies",
    path: "/apis/networking.k8s.io/v1/networkpolicies",
    query: { limit: "1" }
  }).pipe(Effect.flatMap((list) => Ref.set(found, policiesOf(list))))

  const run = look.pipe(
    Effect.as(AGAIN.known),
    // It is known as a refusal, and an agent without the right does all else.
    Effect.catch((error) => Effect.as(Effect.logDebug(error.message), AGAIN.refused)),
    Effect.flatMap((millis) => Effect.flatMap(Random.next, (random) => Effect.sleep(millis * (0.9 + random / 5)))),
    Effect.forever
  )

  return { found: Ref.get(found), run }
})
