/**
 * What the node's side of the kernel does not tell of an allocation that is rebuilt from it: the pod's UID, and addresses
 * that were not announced when the record was lost. They are in the pod's annotations, which its owner may have edited
 * since, and on its `lo`, where its root may have put what it likes: believed is what both say, and of that no more than an
 * ADD would give today. Pure.
 */
import { Option, Result } from "effect"
import type { Allocation } from "../domain/Allocation.ts"
import { parseAnnotations } from "../domain/annotations.ts"
import { type Ground, heldBy, mayHave, permission, words } from "../domain/announcement.ts"
import { equalAddress, formatAddress, type IpAddress } from "../domain/Ip.ts"
import { limitWords, overLimit } from "../domain/limits.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { followsReadiness, make, primariesOf } from "../domain/PodAddresses.ts"
import { AnnouncedTable } from "../ipam/AnnouncedTable.ts"
import { fromSpec } from "./takeOverPlan.ts"

const announcedOf = ({ addresses }: Allocation): ReadonlyArray<IpAddress> =>
  followsReadiness(addresses).map(({ address }) => address)

const countOf = (present: ReadonlyArray<Allocation>): AnnouncedTable => {
  const table = new AnnouncedTable()
  for (const allocation of present) {
    for (const address of announcedOf(allocation)) table.add(address, allocation.pod.namespace)
  }
  return table
}

export interface Completed {
  readonly allocation: Allocation
  /** In words: what of the pod's annotation was left out. */
  readonly left: ReadonlyArray<string>
}

/** What Kubernetes and the kernel say of the pod of a rebuilt allocation. */
export interface Evidence {
  readonly pod: PodInfo
  /** On its interfaces now, `lo` included: what an ADD gave is there, what was only written into an annotation is not. */
  readonly addresses: ReadonlyArray<IpAddress>
}

/** `present`: every allocation of the node as it is known so far, this one included. */
export const completeFromPod = (
  allocation: Allocation,
  { addresses: found, pod }: Evidence,
  { occupied, spec }: Omit<Ground, "namespace">,
  present: ReadonlyArray<Allocation>
): Completed => {
  const { namespace } = allocation.pod
  const annotations = parseAnnotations(pod.annotations)
  const asked = Result.isSuccess(annotations) ? annotations.success.anycast : []
  const { addresses } = allocation
  const families = primariesOf(addresses).map(({ family }) => family)
  const holders = heldBy(present)
  const announced = countOf(present)
  const anycast = [...addresses.anycast]
  const left: Array<string> = []
  for (const address of asked.filter((it) => !anycast.some((known) => equalAddress(known, it)))) {
    if (!found.some((it) => equalAddress(it, address))) {
      left.push(`${formatAddress(address)} is not on the pod's lo: the annotation was edited since`)
      continue
    }
    const no = mayHave({ address, kind: "anycast", namespace, occupied, spec, families, anycast: asked, holders })
    const all = [...announcedOf({ ...allocation, addresses: { ...addresses, anycast } }), address]
    const over = no === undefined ? overLimit(all, namespace, spec, announced) : undefined
    if (no === undefined && over === undefined) {
      anycast.push(address)
      announced.add(address, namespace)
    } else {
      left.push(
        `${formatAddress(address)} ${no !== undefined ? words(no) : over === undefined ? "" : limitWords(over)}`
      )
    }
  }
  return {
    allocation: { ...allocation, pod: { ...allocation.pod, uid: pod.uid }, addresses: { ...addresses, anycast } },
    left
  }
}

/**
 * A primary address beside the node's prefixes is taken for a chosen one, which is announced. One that is not announced by
 * the kernel's word stays the pod's, but is announced only if an ADD would do so today: the node may have had other
 * prefixes when the pod came.
 */
const withoutUnpermitted = (allocation: Allocation, ground: Omit<Ground, "namespace">): Allocation => {
  const { namespace } = allocation.pod
  const chosen = allocation.addresses.chosen.filter((it) => permission(it, { ...ground, namespace }) === undefined)
  return { ...allocation, addresses: { ...allocation.addresses, chosen } }
}

const isIn = (list: ReadonlyArray<IpAddress>) => (address: IpAddress): boolean =>
  list.some((it) => equalAddress(it, address))

/** An exported address is on the pod's `lo`, unless it is a primary one: then the operator chose it. */
export const exportedPrimariesAreChosen = (allocation: Allocation): Allocation => {
  const { anycast, chosen } = allocation.addresses
  const isPrimary = isIn(primariesOf(allocation.addresses))
  const addresses = {
    ...allocation.addresses,
    chosen: [...chosen, ...anycast.filter((address) => isPrimary(address) && !isIn(chosen)(address))],
    anycast: anycast.filter((address) => !isPrimary(address))
  }
  return { ...allocation, addresses }
}

/** An allocation that was rebuilt before the NodeConfig or its pod was known: what these tell is filled in. */
export const completeLate = (
  { incomplete: _, ...allocation }: Allocation,
  evidence: Evidence,
  ground: Omit<Ground, "namespace">,
  present: ReadonlyArray<Allocation>
): Completed => {
  const { anycast, chosen } = allocation.addresses
  const primaries = primariesOf(allocation.addresses)
  const addresses = make({ primaries, ...fromSpec(primaries, ground.spec), anycast: [...anycast, ...chosen] })
  const permitted = withoutUnpermitted({ ...allocation, addresses }, ground)
  return completeFromPod(exportedPrimariesAreChosen(permitted), evidence, ground, present)
}

/** `evidence`: of each of `rebuilt`, where there is any. One after another, so that what one got counts for the next. */
export const completeAll = (
  adopted: ReadonlyArray<Allocation>,
  rebuilt: ReadonlyArray<Allocation>,
  evidence: ReadonlyArray<Option.Option<Evidence>>,
  ground: Omit<Ground, "namespace">
): { readonly rebuild: ReadonlyArray<Allocation>; readonly left: ReadonlyArray<string> } => {
  const rebuild = rebuilt.map((allocation) => exportedPrimariesAreChosen(withoutUnpermitted(allocation, ground)))
  const left: Array<string> = []
  for (const [i, allocation] of rebuild.entries()) {
    const known = evidence[i] ?? Option.none()
    if (Option.isNone(known)) continue
    const completed = completeFromPod(allocation, known.value, ground, [...adopted, ...rebuild])
    rebuild[i] = completed.allocation
    if (completed.left.length > 0) {
      left.push(
        `pod ${podKey(allocation.pod)}: annotation anycast is not believed as a whole: ${completed.left.join("; ")}`
      )
    }
  }
  return { rebuild, left }
}
