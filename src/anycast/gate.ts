/** Who holds which announced address, and whether the holder may have it announced now. Pure. */
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { type Cidr, equalAddress, type Family, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"

/**
 * One step's answer for one holder. `Ready`: announce. `Unknown`: the pod cache is not complete yet and does not hold
 * the pod, so what the kernel has stays as it is. `OtherPod`: a pod of this name exists, but with another UID.
 */
export type Gate = "Ready" | "NotReady" | "Deleting" | "NoPod" | "OtherPod" | "NoFamily" | "Unknown"

export interface PodCache {
  /** Keyed by `podKey`. */
  readonly pods: ReadonlyMap<string, PodInfo>
  /** `KubeApi.podsListed`: a pod that `pods` lacks does not exist. */
  readonly synced: boolean
}

/** One allocation that holds one announced address. */
export interface Holder {
  readonly allocation: Allocation
  readonly address: IpAddress
  /** `chosen`: the pod's primary address on its interface. `anycast`: on the pod's `lo`, reached via a primary one. */
  readonly kind: "anycast" | "chosen"
}

/** Key of a destination. Not its text: that costs ten times as much, and a full pass makes a thousand of them. */
export const destinationKey = ({ base, family, prefix }: Cidr): string => `${family}/${prefix}/${base.toString(36)}`

/** The pod's own address of one family. */
export const primaryOf = (allocation: Allocation, family: Family): IpAddress | undefined =>
  family === 6 ? allocation.ipv6 : allocation.ipv4

/**
 * Every announced address of an allocation, once. One that is a primary address is a chosen one, also where a record
 * rebuilt from the kernel's routes does not say so.
 */
export const holdersOf = (allocation: Allocation): ReadonlyArray<Holder> =>
  [...allocation.chosen, ...allocation.anycast]
    .filter((address, i, all) => !all.slice(0, i).some((other) => equalAddress(other, address)))
    .map((address) => {
      const primary = primaryOf(allocation, address.family)
      const own = primary !== undefined && equalAddress(primary, address)
      return { allocation, address, kind: own ? "chosen" : "anycast" }
    })

/**
 * Pods are matched by namespace, name and UID: a new pod of an old name never announces for the old one's allocation.
 * Where either side has no UID (other runtimes, standalone files), the name decides.
 */
export const gateOf = ({ address, allocation }: Holder, { pods, synced }: PodCache): Gate => {
  if (primaryOf(allocation, address.family) === undefined) return "NoFamily"
  const pod = pods.get(podKey(allocation.pod))
  if (pod === undefined) return synced ? "NoPod" : "Unknown"
  if (allocation.pod.uid !== "" && pod.uid !== "" && allocation.pod.uid !== pod.uid) {
    return synced ? "OtherPod" : "Unknown"
  }
  return pod.deleting ? "Deleting" : pod.ready ? "Ready" : "NotReady"
}

/** All holders, looked up by destination and by pod. */
export interface Index {
  /** Keyed by `destinationKey`; holders ordered by attachment, so that equal states give equal routes. */
  readonly byDestination: ReadonlyMap<string, ReadonlyArray<Holder>>
  /** `podKey` → destinations. */
  readonly byPod: ReadonlyMap<string, ReadonlyArray<string>>
  /** `hostIfName` → destinations. */
  readonly byLink: ReadonlyMap<string, ReadonlyArray<string>>
  /** BIRD's export set: every announced address of every allocation, Ready or not. */
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
  const announcing = allocations.filter((a) => a.anycast.length + a.chosen.length > 0)
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
