/** Who holds which address that follows readiness. Pure. */
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { type Cidr, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { podKey } from "../domain/Pod.ts"
import { type AnnouncedKind, followsReadiness } from "../domain/PodAddresses.ts"

/** One allocation that holds one address of the export set. */
export interface Holder {
  readonly allocation: Allocation
  readonly address: IpAddress
  readonly kind: AnnouncedKind
}

/** Key of a destination. Not its text: that costs ten times as much, and a full pass makes a thousand of them. */
export const destinationKey = ({ base, family, prefix }: Cidr): string => `${family}/${prefix}/${base.toString(36)}`

/** One for each address of an allocation that follows readiness. */
export const holdersOf = (allocation: Allocation): ReadonlyArray<Holder> =>
  followsReadiness(allocation.addresses).map(({ address, kind }) => ({ allocation, address, kind }))

/** All holders, looked up by destination and by pod. */
export interface Index {
  /** Keyed by `destinationKey`; holders ordered by attachment, so that equal states give equal routes. */
  readonly byDestination: ReadonlyMap<string, ReadonlyArray<Holder>>
  /** `podKey` → destinations. */
  readonly byPod: ReadonlyMap<string, ReadonlyArray<string>>
  /** `hostIfName` → destinations. */
  readonly byLink: ReadonlyMap<string, ReadonlyArray<string>>
  /** Every address of every allocation that follows readiness: what BIRD may export, Ready or not. */
  readonly exportSet: ReadonlyArray<IpAddress>
}

export const emptyIndex: Index = { byDestination: new Map(), byPod: new Map(), byLink: new Map(), exportSet: [] }

const append = <A>(map: Map<string, Array<A>>, key: string, value: A): void => {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

export const makeIndex = (allocations: ReadonlyArray<Allocation>): Index => {
  const byDestination = new Map<string, Array<Holder>>()
  const byPod = new Map<string, Array<string>>()
  const byLink = new Map<string, Array<string>>()
  const announcing = allocations.filter(({ addresses }) => addresses.anycast.length + addresses.chosen.length > 0)
    .map((allocation) => ({ key: attachmentKey(allocation), allocation }))
    .toSorted((a, b) => a.key < b.key ? -1 : 1)
  for (const { allocation } of announcing) {
    for (const holder of holdersOf(allocation)) {
      const key = destinationKey(hostCidr(holder.address))
      append(byDestination, key, holder)
      append(byPod, podKey(allocation.pod), key)
      append(byLink, allocation.hostIfName, key)
    }
  }
  const exportSet = [...byDestination].toSorted(([a], [b]) => a < b ? -1 : 1).flatMap(([, [first]]) =>
    first === undefined ? [] : [first.address]
  )
  return { byDestination, byPod, byLink, exportSet }
}
