/** What to do with the records, links and routes that the agent before this one left. Pure. */
import { aliasOf, type Allocation, attachmentKey, namesOwner, parseAlias } from "../domain/Allocation.ts"
import { bitsOf, contains, equalAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import * as PodAddresses from "../domain/PodAddresses.ts"
import { gatewayOf } from "../domain/reserved.ts"
import type { HostLink, HostRoute } from "../netlink/Netlink.ts"
import type { Newer } from "./format.ts"

/** Network name of attachments that were rebuilt from the kernel, which does not know it: the conflist's. */
const DEFAULT_NETWORK = "flock"

const hostAddress = (route: HostRoute): ReadonlyArray<IpAddress> => {
  const { base, family, prefix } = route.destination
  return prefix === bitsOf(family) ? [{ family, value: base }] : []
}

const over = (link: HostLink) => (route: HostRoute): boolean =>
  route.nextHops.some((hop) => hop.ifIndex === link.ifIndex)

export interface KernelState {
  readonly links: ReadonlyArray<HostLink>
  readonly podRoutes: ReadonlyArray<HostRoute>
  readonly exportRoutes: ReadonlyArray<HostRoute>
  /** By a link's name: primary addresses that its pod has by its own word (`ownWord.ts`). Counted where no route tells. */
  readonly inPods: ReadonlyMap<string, ReadonlyArray<IpAddress>>
}

export interface Plan {
  /** Records whose link is there, and is not another record's. */
  readonly adopt: ReadonlyArray<Allocation>
  /** Records whose link is gone: the pod's namespace is too. */
  readonly drop: ReadonlyArray<Allocation>
  /** Records rebuilt from a link, its alias and its routes, or its pod's word. */
  readonly rebuild: ReadonlyArray<Allocation>
  /** Links that nothing owns, or that an interrupted ADD left. */
  readonly remove: ReadonlyArray<HostLink>
  /** Addresses that a route of ours or a newer record still holds though no kept record has them, by the link's or file's name. */
  readonly hold: ReadonlyArray<readonly [owner: string, address: IpAddress]>
}

export interface Context {
  readonly bootId: string
  /** Undefined while no NodeConfig is known. */
  readonly spec: NodeConfigSpec | undefined
  /** RFC 3339. */
  readonly now: string
  /** Files of a newer format. */
  readonly newer: ReadonlyArray<Newer>
}

/** A link that is a newer agent's, or may be: it is removed in no case. */
const isLeftAlone = (newer: ReadonlyArray<Newer>, link: HostLink, key: string | undefined): boolean =>
  newer.some((it) => it.key === undefined || it.key === key || it.hostIfName === link.ifName)

/** What only the NodeConfig tells of a pod's primary addresses: their gateway, and which of them the operator chose. */
export const fromSpec = (primaries: ReadonlyArray<IpAddress>, spec: NodeConfigSpec | undefined) => {
  const pools = [spec?.cidr6, spec?.cidr4].filter((cidr) => cidr !== undefined)
  const isChosen = (address: IpAddress) => pools.length > 0 && !pools.some((cidr) => contains(cidr, address))
  return { gateway4: spec?.cidr4 && gatewayOf(spec.cidr4), chosen: primaries.filter(isChosen) }
}

/** Of a link's pod by its own word, in families of which no route tells: what nobody else has or says to have. */
const ownWord = (
  link: HostLink,
  routed: ReadonlyArray<IpAddress>,
  kernel: KernelState,
  records: ReadonlyArray<Allocation>
): ReadonlyArray<IpAddress> => {
  const held = [
    ...kernel.podRoutes.flatMap(hostAddress),
    ...records.flatMap(({ addresses }) => PodAddresses.primariesOf(addresses)),
    ...[...kernel.inPods].flatMap(([ifName, addresses]) => ifName === link.ifName ? [] : addresses)
  ]
  return (kernel.inPods.get(link.ifName) ?? []).filter((address) =>
    !routed.some(({ family }) => family === address.family) && !held.some((it) => equalAddress(it, address))
  )
}

/** The allocation as the kernel tells it; undefined where the link holds no address of a pod. */
const allocationFromKernel = (
  owner: NonNullable<ReturnType<typeof parseAlias>>,
  link: HostLink,
  kernel: KernelState,
  records: ReadonlyArray<Allocation>,
  { bootId, now, spec }: Context
): Allocation | undefined => {
  const routed = kernel.podRoutes.filter(over(link)).flatMap(hostAddress)
  const primaries = [...routed, ...ownWord(link, routed, kernel, records)]
  if (primaries.length === 0) return undefined
  return {
    ...owner,
    version: 1,
    bootId,
    network: DEFAULT_NETWORK,
    netns: "",
    hostIfName: link.ifName,
    mtu: link.mtu,
    addresses: PodAddresses.make({
      primaries,
      ...fromSpec(primaries, spec),
      anycast: kernel.exportRoutes.filter(over(link)).flatMap(hostAddress)
    }),
    createdAt: now
  }
}

// The name is made of the attachment's key. An alias that names no attachment was written by somebody else, and is restored.
const isOf = (a: Allocation, alias: string | undefined): boolean =>
  alias !== undefined && (alias === aliasOf(a) || !namesOwner(alias))

/** Links of pods without a record, with what their aliases tell: nearly always none. Not those of an ADD that was cut short. */
export const withoutRecord = (
  records: ReadonlyArray<Allocation>,
  interrupted: ReadonlyArray<string>,
  links: ReadonlyArray<HostLink>
) => {
  const byName = new Map(records.map((a) => [a.hostIfName, a]))
  return links.flatMap((link) => {
    const record = byName.get(link.ifName)
    const owner = parseAlias(link.alias)
    const isLost = owner !== undefined && link.peerNsid !== undefined && !interrupted.includes(attachmentKey(owner)) &&
      (record === undefined || !isOf(record, link.alias))
    return isLost ? [{ link, owner }] : []
  })
}

export const takeOverPlan = (
  records: ReadonlyArray<Allocation>,
  interrupted: ReadonlyArray<string>,
  kernel: KernelState,
  context: Context
): Plan => {
  const byName = new Map(kernel.links.map((link) => [link.ifName, link]))
  const matches = (a: Allocation) => isOf(a, byName.get(a.hostIfName)?.alias)
  const adopt = records.filter(matches)
  const owned = new Set(adopt.map((a) => a.hostIfName))
  const known = new Set(adopt.map(attachmentKey))
  const rebuild: Array<Allocation> = []
  const remove: Array<HostLink> = []
  for (const link of kernel.links.filter((l) => !owned.has(l.ifName))) {
    const owner = parseAlias(link.alias)
    const key = owner && attachmentKey(owner)
    const ownable = owner !== undefined && key !== undefined && link.peerNsid !== undefined &&
      !interrupted.includes(key) && !known.has(key)
    const allocation = ownable ? allocationFromKernel(owner, link, kernel, adopt, context) : undefined
    if (allocation === undefined) {
      if (!isLeftAlone(context.newer, link, key)) remove.push(link)
    } else {
      known.add(attachmentKey(allocation))
      rebuild.push(allocation)
    }
  }
  const removed = new Set(remove.map((link) => link.ifIndex))
  const names = new Map(kernel.links.map((link) => [link.ifIndex, link.ifName]))
  const kept = new Set(
    [...adopt, ...rebuild].flatMap((a) => PodAddresses.primariesOf(a.addresses)).map((a) => `${a.family}/${a.value}`)
  )
  const isKept = (a: IpAddress) => kept.has(`${a.family}/${a.value}`)
  const routed = kernel.podRoutes.flatMap((route) => {
    const ifIndex = route.nextHops[0]?.ifIndex ?? 0
    if (removed.has(ifIndex)) return []
    return hostAddress(route).filter((a) => !isKept(a)).map((a) =>
      [`kernel:${names.get(ifIndex) ?? ifIndex}`, a] as const
    )
  })
  const recorded = context.newer.flatMap(({ addresses, file }) =>
    addresses.filter((a) => !isKept(a) && !routed.some(([, it]) => equalAddress(it, a))).map((a) => [file, a] as const)
  )
  const hold = [...routed, ...recorded]
  return { adopt, drop: records.filter((a) => !matches(a)), rebuild, remove, hold }
}
