/**
 * Whether an address that a pod names may be its own and be announced: the whole rule, with a word for every "no".
 * {@link mayHave} is asked when a pod is added, when an agent adopts what it lost the record of, and by `why`;
 * {@link mayAnnounce} by the reconciler, all the time, and by `why`; {@link neverAnnounced} by the renderer. Pure.
 */
import { addressProblem } from "./addressRules.ts"
import type { Allocation } from "./Allocation.ts"
import { decisiveFor, isFor, openTo } from "./grants.ts"
import { bitsOf, type Cidr, equalAddress, type Family, formatCidr, type IpAddress } from "./Ip.ts"
import type { NodeConfigSpec } from "./NodeConfig.ts"
import { occupation, type Occupied } from "./occupied.ts"
import { type PodInfo, podKey } from "./Pod.ts"
import { type AnnouncedKind, primaryOf } from "./PodAddresses.ts"
import { quote } from "./quote.ts"
import { reservedIn } from "./reserved.ts"

/** The node or its network use it; `how` follows the address. */
export interface OccupiedNo {
  readonly _tag: "Occupied"
  readonly how: string
}

/** Why a pod may not have an address. */
export type Refusal =
  | { readonly _tag: "SpecialUse"; readonly is: string }
  /** In no list. `allowed`: what the namespace may have something of. */
  | { readonly _tag: "NotAllowed"; readonly allowed: ReadonlyArray<Cidr>; readonly lists: string }
  /** In a prefix that is for other namespaces. */
  | { readonly _tag: "NotGranted"; readonly cidr: Cidr; readonly namespace: string }
  | OccupiedNo
  | { readonly _tag: "Reserved"; readonly is: string }
  | { readonly _tag: "NoFamily"; readonly family: Family }
  /** As anycast and as its own address. */
  | { readonly _tag: "ListedTwice" }
  | { readonly _tag: "InUse"; readonly by: string; readonly as: "primary" | "anycast" }

/**
 * Why an address that a pod has is not announced now. `Unknown`: the pods are not listed yet and the cache does not hold
 * the pod, so what the kernel has stays as it is. `OtherPod`: a pod of this name exists, but with another UID.
 */
export type NotNow =
  | { readonly _tag: "NoFamily"; readonly family: Family }
  | OccupiedNo
  | Unreachable
  | { readonly _tag: typeof WAITS[number] }

/**
 * Why packets for a pod do not reach it, as the kernel tells. `LinkDown`: the pod has set its own end down. `Cut`:
 * something on the host is not as flock made it and cannot be put right; `cuts` are the families that suffer. `Broken`: the
 * pod has taken its own network apart, in families or single addresses.
 */
export type Unreachable =
  | { readonly _tag: "LinkDown" }
  | { readonly _tag: "Cut"; readonly cuts: ReadonlyArray<Family>; readonly words: string }
  | {
    readonly _tag: "Broken"
    readonly cuts: ReadonlyArray<Family>
    readonly addresses: ReadonlyArray<IpAddress>
    readonly words: string
  }

const concerns = (hole: Unreachable, address: IpAddress): boolean =>
  hole._tag === "LinkDown" || hole.cuts.includes(address.family) ||
  (hole._tag === "Broken" && hole.addresses.some((one) => equalAddress(one, address)))

const WAITS = ["NotReady", "Ended", "Deleting", "NoPod", "OtherPod", "Unknown"] as const

export type No = Refusal | NotNow

/** Who has which address, as an operator knows them (`namespace/pod` where known). */
export interface Holders {
  readonly primaryOwner: (address: IpAddress) => string | undefined
  /** One of those who have it as an anycast address. */
  readonly anycastOwner: (address: IpAddress) => string | undefined
}

export const heldBy = (allocations: ReadonlyArray<Allocation>): Holders => {
  const owner = (has: (allocation: Allocation) => boolean): string | undefined => {
    const found = allocations.find(has)
    return found === undefined ? undefined : found.pod.name === "" ? found.containerId : podKey(found.pod)
  }
  return {
    primaryOwner: (address) =>
      owner(({ addresses }) => {
        const primary = primaryOf(addresses, address.family)
        return primary !== undefined && equalAddress(primary, address)
      }),
    anycastOwner: (address) => owner(({ addresses }) => addresses.anycast.some((it) => equalAddress(it, address)))
  }
}

/** What a permission depends on beside the address. */
export interface Ground {
  /** The pod's. */
  readonly namespace: string
  readonly spec: NodeConfigSpec
  readonly occupied: Occupied
}

/** What a pod asks for. */
export interface Ask extends Ground {
  readonly address: IpAddress
  readonly kind: AnnouncedKind
  /** Those that the pod has. */
  readonly families: ReadonlyArray<Family>
  /** All that the pod asks for as anycast. */
  readonly anycast: ReadonlyArray<IpAddress>
  readonly holders: Holders
}

/** Whatever an operator allows and a record says. */
export const neverAnnounced = (address: IpAddress): Refusal | undefined => {
  const is = addressProblem("pod", address)
  return is === undefined ? undefined : { _tag: "SpecialUse", is }
}

const isListed = (address: IpAddress, spec: NodeConfigSpec): boolean =>
  decisiveFor(address, spec.anycast)?.cidr.prefix === bitsOf(address.family)

/** What the node or its network use; this can come about while a pod has the address. */
export const occupiedNow = (address: IpAddress, spec: NodeConfigSpec, occupied: Occupied): OccupiedNo | undefined => {
  const how = occupation(address, occupied, false)
  // Most addresses are out of question, so the lists are looked through only where they matter.
  const still = how === undefined || !isListed(address, spec) ? how : occupation(address, occupied, true)
  return still === undefined ? undefined : { _tag: "Occupied", how: still }
}

/** What forbids an address whoever has what: the operator's word, and the network's. */
export const permission = (address: IpAddress, { namespace, occupied, spec }: Ground): Refusal | undefined => {
  const never = neverAnnounced(address)
  if (never !== undefined) return never
  const decisive = decisiveFor(address, spec.anycast)
  if (decisive === undefined) {
    const { allowedCIDRs } = spec.anycast
    const allowed = openTo(spec.anycast, namespace)
    const lists = allowed.length > allowedCIDRs.length ? "allowedCIDRs and grants" : "allowedCIDRs"
    return { _tag: "NotAllowed", allowed, lists }
  }
  if (!isFor(decisive, namespace)) return { _tag: "NotGranted", cidr: decisive.cidr, namespace }
  for (const node of [spec.cidr6, spec.cidr4]) {
    const is = node && reservedIn(node, address)
    if (is !== undefined) return { _tag: "Reserved", is }
  }
  return occupiedNow(address, spec, occupied)
}

/** By which prefix an address is allowed, in words that follow it. */
export const allowedBy = (address: IpAddress, spec: NodeConfigSpec): string => {
  const decisive = decisiveFor(address, spec.anycast)
  if (decisive?.namespaces === undefined) return "lies in spec.anycast.allowedCIDRs"
  const marked = decisive.communities.length === 0 ? "" : ` and announces with ${few(decisive.communities)}`
  return `lies in ${formatCidr(decisive.cidr)}, which spec.anycast.grants gives to namespaces ${
    few(decisive.namespaces)
  }${marked}`
}

const inUse = (by: string | undefined, as: "primary" | "anycast"): Refusal | undefined =>
  by === undefined ? undefined : { _tag: "InUse", by, as }

/** Whether a pod may have an address that it names itself; undefined: yes. */
export const mayHave = (ask: Ask): Refusal | undefined => {
  const { address, anycast, families, holders, kind } = ask
  const forbidden = permission(address, ask)
  if (forbidden !== undefined) return forbidden
  const taken = inUse(holders.primaryOwner(address), "primary")
  const noFamily: Refusal | undefined = families.includes(address.family)
    ? undefined
    : { _tag: "NoFamily", family: address.family }
  if (kind === "anycast") return taken ?? noFamily
  if (noFamily !== undefined) return noFamily
  if (anycast.some((it) => equalAddress(it, address))) return { _tag: "ListedTwice" }
  return taken ?? inUse(holders.anycastOwner(address), "anycast")
}

/** Whether what has been given may be announced; the NodeConfig in force, undefined: none is known. */
export interface Rules {
  readonly spec: NodeConfigSpec | undefined
  readonly occupied: Occupied
}

export interface PodCache {
  /** Keyed by `podKey`. */
  readonly pods: ReadonlyMap<string, PodInfo>
  /** `KubeApi.podsListed`: a pod that `pods` lacks does not exist. */
  readonly synced: boolean
  /** Keyed by `hostIfName`; those that can be reached are not in it. */
  readonly unreachable: ReadonlyMap<string, Unreachable>
}

// The reconciler asks for a thousand addresses at a time.
const NO_FAMILY = { 4: { _tag: "NoFamily", family: 4 }, 6: { _tag: "NoFamily", family: 6 } } as const
const NOT_READY = { _tag: "NotReady" } as const
const ENDED = { _tag: "Ended" } as const
const DELETING = { _tag: "Deleting" } as const
const NO_POD = { _tag: "NoPod" } as const
const OTHER_POD = { _tag: "OtherPod" } as const
const UNKNOWN = { _tag: "Unknown" } as const

/**
 * Whether an address that an allocation has may be announced now; undefined: yes. Pods are matched by namespace, name and
 * UID: a new pod of an old name never announces for the old one's allocation. Where either side has no UID (other
 * runtimes, standalone files), the name decides.
 *
 * A pod that has ended is not Ready, whatever its condition says: pod garbage collection fails the pods of a lost node and
 * leaves `Ready` as it was. The condition `DisruptionTarget` decides nothing, as in EndpointSlices: who sets it (eviction,
 * preemption, the taint manager) deletes the pod in the next request, and where that is refused the pod serves on, but the
 * condition stays for two minutes.
 */
export const mayAnnounce = (
  address: IpAddress,
  allocation: Allocation,
  { occupied, pods, spec, synced, unreachable }: PodCache & Rules
): NotNow | undefined => {
  if (primaryOf(allocation.addresses, address.family) === undefined) return NO_FAMILY[address.family]
  const conflict = spec && occupiedNow(address, spec, occupied)
  if (conflict !== undefined) return conflict
  const hole = unreachable.get(allocation.hostIfName)
  if (hole !== undefined && concerns(hole, address)) return hole
  const pod = pods.get(podKey(allocation.pod))
  if (pod === undefined) return synced ? NO_POD : UNKNOWN
  if (allocation.pod.uid !== "" && pod.uid !== "" && allocation.pod.uid !== pod.uid) return synced ? OTHER_POD : UNKNOWN
  if (pod.ended !== undefined) return ENDED
  return pod.deleting ? DELETING : pod.ready ? undefined : NOT_READY
}

/** `Ready`: announced. Otherwise the tag of the first "no". */
export const GATES = ["Ready", "NoFamily", "Occupied", "LinkDown", "Cut", "Broken", ...WAITS] as const
export type Gate = typeof GATES[number]

const few = (all: ReadonlyArray<string>): string => all.slice(0, 4).join(", ") + (all.length > 4 ? ", ..." : "")

const listed = (allowed: ReadonlyArray<Cidr>): string =>
  allowed.length === 0 ? "which is empty: nothing is allowed" : few(allowed.map(formatCidr))

type Words = { readonly [T in No["_tag"]]: (no: Extract<No, { readonly _tag: T }>) => string }

/** A refusal's words follow the address, those of {@link NotNow} the pod. */
const WORDS: Words = {
  SpecialUse: ({ is }) => `is ${is}; it must be ordinary unicast`,
  NotAllowed: ({ allowed, lists }) => `is not in this node's spec.anycast.${lists}, ${listed(allowed)}`,
  NotGranted: ({ cidr, namespace }) =>
    `lies in ${formatCidr(cidr)}, which spec.anycast.grants gives to other namespaces than ${quote(namespace)}`,
  Occupied: ({ how }) => how,
  Reserved: ({ is }) => `is ${is} of this node; choose another`,
  ListedTwice: () => "is listed in anycast too; keep it in one of the two",
  InUse: ({ as, by }) => `is in use by ${by} as its ${as} address; choose another`,
  NoFamily: ({ family }) => `has no IPv${family} address to reach it by`,
  LinkDown: () => "has set its interface down",
  Cut: ({ words }) => `cannot be reached: ${words}`,
  Broken: ({ words }) => `has changed its own network: ${words}`,
  NotReady: () => "is not Ready",
  Ended: () => "has ended (phase Succeeded or Failed)",
  Deleting: () => "is being deleted",
  NoPod: () => "does not exist (any more)",
  OtherPod: () => "is another pod now: its UID is not the allocation's",
  Unknown: () => "is not known yet: the pods were not listed since the agent started"
}

/** Why not, to follow the name of the address ({@link Refusal}) or of the pod ({@link NotNow}, `NoFamily` always). */
export const words = <N extends No>(no: N): string => (WORDS[no._tag] as (no: N) => string)(no)
