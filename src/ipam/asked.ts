/** The `addresses` and `anycast` annotations, checked: addresses that a pod names itself. */
import { Result } from "effect"
import type { Annotations } from "../domain/annotations.ts"
import { type Ask, type Ground, mayHave, type Refusal, words } from "../domain/announcement.ts"
import { AddressError } from "../domain/errors.ts"
import { type Cidr, formatAddress, type IpAddress } from "../domain/Ip.ts"
import { limitWords, overLimit } from "../domain/limits.ts"
import type { AnnouncedKind } from "../domain/PodAddresses.ts"
import type { AddressView } from "./AddressTable.ts"

export interface Asked {
  /** Primary addresses in place of IPAM's. */
  readonly chosen: ReadonlyArray<IpAddress>
  /** Those whose family the pod has. */
  readonly anycast: ReadonlyArray<IpAddress>
}

const ANNOTATION = { chosen: "addresses", anycast: "anycast" } as const

const REASONS: Readonly<Record<Refusal["_tag"], AddressError["reason"]>> = {
  SpecialUse: "Invalid",
  NotAllowed: "NotAllowed",
  NotGranted: "NotAllowed",
  Occupied: "NotAllowed",
  Reserved: "Invalid",
  NoFamily: "NoFamily",
  ListedTwice: "Invalid",
  InUse: "InUse"
}

const refuse = (kind: AnnouncedKind, address: IpAddress, refusal: Refusal): AddressError => {
  const annotation = ANNOTATION[kind]
  const problem = refusal._tag === "NoFamily" ? `cannot be used: the pod ${words(refusal)}` : words(refusal)
  return new AddressError({
    reason: REASONS[refusal._tag],
    annotation,
    message: `annotation ${annotation}: ${formatAddress(address)} ${problem}`
  })
}

/** `nodes`: the node's CIDRs of the families that the pod has. */
export const checkAsked = (
  view: AddressView,
  ground: Ground,
  annotations: Annotations,
  nodes: ReadonlyArray<Cidr>,
  warn: (text: string) => void
): Result.Result<Asked, AddressError> => {
  const ask: Omit<Ask, "address" | "kind"> = {
    ...ground,
    families: nodes.map(({ family }) => family),
    anycast: annotations.anycast,
    holders: view
  }
  for (const address of annotations.addresses) {
    const refusal = mayHave({ ...ask, address, kind: "chosen" })
    if (refusal !== undefined) return Result.fail(refuse("chosen", address, refusal))
  }
  const anycast: Array<IpAddress> = []
  for (const address of annotations.anycast) {
    const refusal = mayHave({ ...ask, address, kind: "anycast" })
    if (refusal === undefined) anycast.push(address)
    // A Deployment that runs on nodes of different families has one annotation.
    else if (refusal._tag === "NoFamily") {
      warn(`annotation anycast: ${formatAddress(address)} skipped, the pod ${words(refusal)}`)
    } else return Result.fail(refuse("anycast", address, refusal))
  }
  const chosen = annotations.addresses
  const over = overLimit([...chosen, ...anycast], ground.namespace, ground.spec, view.announced)
  if (over !== undefined) {
    const annotation = anycast.length > 0 ? ANNOTATION.anycast : ANNOTATION.chosen
    const message = `annotation ${annotation}: ${limitWords(over)}`
    return Result.fail(new AddressError({ reason: "OverLimit", annotation, message }))
  }
  return Result.succeed({ chosen, anycast })
}
