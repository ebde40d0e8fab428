/**
 * Primary addresses of a pod whose record is lost and whose host routes do not tell them either: somebody flushed them, or
 * the host end was down. They are on the pod's own interface, where its root may have put what it likes: believed is what
 * an ADD could have given, one address of each family. Pure.
 */
import { Result } from "effect"
import { parseAnnotations } from "../domain/annotations.ts"
import { permission } from "../domain/announcement.ts"
import { contains, equalAddress, type Family, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { occupation, type Occupied } from "../domain/occupied.ts"
import type { PodInfo } from "../domain/Pod.ts"
import { reservedIn } from "../domain/reserved.ts"

const families: ReadonlyArray<Family> = [6, 4]

export interface Word {
  readonly namespace: string
  /** On the interface that the link leads to. */
  readonly own: ReadonlyArray<IpAddress>
  /** Undefined: it could not be learned. */
  readonly pod: PodInfo | undefined
}

/** An address of the node's prefixes, or one that the operator lets this pod choose. Of several that could be, none. */
export const believable = (
  { namespace, own, pod }: Word,
  { occupied, spec }: { readonly spec: NodeConfigSpec; readonly occupied: Occupied }
): ReadonlyArray<IpAddress> => {
  const annotations = parseAnnotations(pod?.annotations ?? {})
  const asked = Result.isSuccess(annotations) ? annotations.success.addresses : []
  const mayBe = (address: IpAddress): boolean => {
    const pool = address.family === 4 ? spec.cidr4 : spec.cidr6
    return pool !== undefined && contains(pool, address)
      ? reservedIn(pool, address) === undefined && occupation(address, occupied, true) === undefined
      : asked.some((it) => equalAddress(it, address)) &&
        permission(address, { namespace, spec, occupied }) === undefined
  }
  return families.flatMap((family) => {
    const found = own.filter((address) => address.family === family && mayBe(address))
    return found.length === 1 ? found : []
  })
}
