/** The reconciler's words, in the log and as Events on the pods that they concern. */
import { Effect } from "effect"
import { formatAddress } from "../domain/Ip.ts"
import { podKey } from "../domain/Pod.ts"
import type { KubeApi } from "../kube/KubeApi.ts"
import type { Action } from "./anycastState.ts"
import { named } from "./routeTables.ts"
import type { OccupiedAddress } from "./troubles.ts"

type Said = Extract<Action, { readonly _tag: "SayOccupied" | "SayFree" | "SayRefused" }>

const sayOccupied = Effect.fnUntraced(function*({ holders, how }: OccupiedAddress, kube: KubeApi["Service"]) {
  const [first] = holders
  if (first === undefined) return
  const message = `${formatAddress(first.address)} is not announced: it ${how}`
  yield* Effect.logWarning(
    `anycast: ${message} (${holders.map(({ allocation }) => podKey(allocation.pod)).join(", ")})`
  )
  for (const { allocation: { pod } } of holders) {
    if (pod.name === "") continue
    yield* kube.event({ on: { kind: "Pod", pod }, type: "Warning", reason: "AddressWithdrawn", message })
  }
})

export const say = (action: Said, kube: KubeApi["Service"]): Effect.Effect<void> => {
  switch (action._tag) {
    case "SayOccupied":
      return Effect.forEach(action.addresses, (it) => sayOccupied(it, kube), { discard: true })
    case "SayFree":
      return Effect.logInfo(`anycast: may be announced again: ${action.addresses.map(formatAddress).join(", ")}`)
    case "SayRefused": {
      const groups = Map.groupBy(action.routes, ({ detail, route, verb }) => `${verb} ${route.protocol} ${detail}`)
      return Effect.forEach(groups.values(), (group) => {
        const [{ detail, route, verb } = { detail: "", route: undefined, verb: "add" }] = group
        const routes = group.map((it) => it.route)
        return Effect.logWarning(
          `anycast: could not ${verb} ${named(routes)} (protocol ${route?.protocol}): ${detail}; will try again`
        )
      }, { discard: true })
    }
  }
}
