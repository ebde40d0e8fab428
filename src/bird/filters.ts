/** The prefix sets and the import filter of `bird.conf`: what may be exported and what may be learned. Pure. */
import { addressProblem, refusedRanges } from "../domain/addressRules.ts"
import { bitsOf, type Cidr, type Family, formatCidr, hostCidr, type IpAddress, networkOf } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { type HostInterface, IF_PREFIX } from "../netlink/Netlink.ts"
import { poolLines, poolSets, watchedPool } from "./poolFilter.ts"

/** The networks of the node's real interfaces, and host addresses as /32 or /128, sorted and without repetitions. */
export const connectedSubnets = (interfaces: ReadonlyArray<HostInterface>): ReadonlyArray<Cidr> => {
  const all = interfaces
    .filter(({ ifName }) => !ifName.startsWith(IF_PREFIX))
    .flatMap(({ addresses }) => addresses)
    .filter(({ address }) => addressProblem("import", address) === undefined)
    .map(({ address, prefix }) => networkOf(address, prefix))
  const unique = new Map(all.map((cidr) => [formatCidr(cidr), cidr]))
  return [...unique.values()].toSorted((a, b) => a.base < b.base ? -1 : a.base > b.base ? 1 : a.prefix - b.prefix)
}

/** Everything that lies in `cidr`, itself included. */
const within = (cidr: Cidr): string => `${formatCidr(cidr)}+`

/**
 * Everything that covers, equals or lies in `cidr`, but not the default route. A host address is only itself: a prefix
 * that covers it cannot draw its traffic away.
 */
const overlapping = (cidr: Cidr): string =>
  cidr.prefix === bitsOf(cidr.family) ? formatCidr(cidr) : `${formatCidr(cidr)}{1,${bitsOf(cidr.family)}}`

const set = (name: string, members: ReadonlyArray<string>): ReadonlyArray<string> => [
  `define ${name} = [`,
  ...members.map((member, i) => `  ${member}${i < members.length - 1 ? "," : ""}`),
  "];"
]

export const prefixSets = (
  spec: NodeConfigSpec,
  exportSet: ReadonlyArray<IpAddress>,
  connected: ReadonlyArray<Cidr>
): ReadonlyArray<string> => {
  const lines = ([6, 4] as const).flatMap((family) => {
    const mine = (cidr: { readonly family: Family }) => cidr.family === family
    const allowed = exportSet.filter(mine).map((address) => formatCidr(hostCidr(address)))
    const imports = (spec.bgp?.importCIDRs ?? []).filter(mine)
    const nodes = family === 6 ? spec.cidr6 : spec.cidr4
    const never = [...(nodes === undefined ? [] : [nodes]), ...connected.filter(mine)]
    return [
      ...(allowed.length === 0 ? [] : set(`flock_export${family}`, allowed)),
      ...poolSets(spec, family).flatMap(([name, members]) => set(name, members)),
      ...(imports.length === 0 ? [] : [
        ...set(`flock_never${family}`, [...refusedRanges("import", family).map(within), ...never.map(overlapping)]),
        ...set(`flock_learn${family}`, imports.map(within))
      ])
    ]
  })
  return lines.length === 0 ? [] : [...lines, ""]
}

const learns = (spec: NodeConfigSpec, family: Family): boolean =>
  (spec.bgp?.importCIDRs ?? []).some((cidr) => cidr.family === family)

/** Whether there is an {@link importFilter}. */
export const filtersImport = (spec: NodeConfigSpec, family: Family): boolean =>
  learns(spec, family) || watchedPool(spec, family) !== undefined

/**
 * The default route passes only where `importCIDRs` has the prefix of length 0 itself. What a router that is about to go
 * marks with GRACEFUL_SHUTDOWN (RFC 8326, section 4.1) is used only while nobody else has it.
 */
export const importFilter = (
  spec: NodeConfigSpec,
  connected: ReadonlyArray<Cidr>,
  family: Family
): ReadonlyArray<string> =>
  filtersImport(spec, family)
    ? [
      "",
      `filter flock_import${family} {`,
      ...poolLines(spec, connected, family),
      ...(learns(spec, family)
        ? [
          `  if net ~ flock_never${family} then reject;`,
          `  if net !~ flock_learn${family} then reject;`,
          "  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;",
          "  accept;"
        ]
        : ["  reject;"]),
      "}"
    ]
    : []
