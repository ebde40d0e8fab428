/** What to do with the records, links and routes that the agent before this one left. Pure. */
import { aliasOf, type Allocation, attachmentKey, namesOwner, parseAlias } from "../domain/Allocation.ts"
import { bitsOf, contains, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import * as PodAddresses from "../domain/PodAddresses.ts"
import { gatewayOf } from "../domain/reserved.ts"
import type { HostLink, HostRoute } from "../netlink/Netlink.ts"

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
}

export interface Plan {
  /** Records whose link is there, and is not another record's. */
  readonly adopt: ReadonlyArray<Allocation>
  /** Records whose link is gone: the pod's namespace is too. */
  readonly drop: ReadonlyArray<Allocation>
  /** Records rebuilt from a link, its alias and its routes. */
  readonly rebuild: ReadonlyArray<Allocation>
  /** Links that nothing owns, or that an interrupted ADD left. */
  readonly remove: ReadonlyArray<HostLink>
  /** Addresses that a route of ours still holds though no kept record has them, by the link's name. */
  readonly hold: ReadonlyArray<readonly [owner: string, address: IpAddress]>
}

export interface Context {
  readonly bootId: string
  /** Undefined while no NodeConfig is known. */
  readonly spec: NodeConfigSpec | undefined
  /** RFC 3339. */
  readonly now: string
}

/** What only the NodeConfig tells of a pod's primary addresses: their gateway, and which of them the operator chose. */
export const fromSpec = (primaries: ReadonlyArray<IpAddress>, spec: NodeConfigSpec | undefined) => {
  const pools = [spec?.cidr6, spec?.cidr4].filter((cidr) => cidr !== undefined)
  const isChosen = (address: IpAddress) => pools.length > 0 && !pools.some((cidr) => contains(cidr, address))
  return { gateway4: spec?.cidr4 && gatewayOf(spec.cidr4), chosen: primaries.filter(isChosen) }
}

/** The allocation as the kernel tells it; undefined where the link holds no address of a pod. */
const allocationFromKernel = (
  owner: NonNullable<ReturnType<typeof parseAlias>>,
  link: HostLink,
  kernel: KernelState,
  { bootId, now, spec }: Context
): Allocation | undefined => {
  const primaries = kernel.podRoutes.filter(over(link)).flatMap(hostAddress)
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

export const takeOverPlan = (
  records: ReadonlyArray<Allocation>,
  interrupted: ReadonlyArray<string>,
  kernel: KernelState,
  context: Context
): Plan => {
  const byName = new Map(kernel.links.map((link) => [link.ifName, link]))
  // The name is made of the attachment's key. An alias that names no attachment was written by somebody else, and is restored.
  const matches = (a: Allocation) => {
    const alias = byName.get(a.hostIfName)?.alias
    return alias !== undefined && (alias === aliasOf(a) || !namesOwner(alias))
  }
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
    const allocation = ownable ? allocationFromKernel(owner, link, kernel, context) : undefined
    if (allocation === undefined) {
      remove.push(link)
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
  const hold = kernel.podRoutes.flatMap((route) => {
    const ifIndex = route.nextHops[0]?.ifIndex ?? 0
    if (removed.has(ifIndex)) return []
    return hostAddress(route)
      .filter((a) => !kept.has(`${a.family}/${a.value}`))
      .map((a) => [`kernel:${names.get(ifIndex) ?? ifIndex}`, a] as const)
  })
  return { adopt, drop: records.filter((a) => !matches(a)), rebuild, remove, hold }
}
