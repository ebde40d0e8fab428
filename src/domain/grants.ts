/**
 * Who may have which address of those that pods name themselves: `spec.anycast.allowedCIDRs` are for every namespace, those
 * of `grants` for the namespaces that they name. Of all prefixes of both lists that hold an address, the longest decides;
 * where both lists have it, `grants`; where `grants` has it twice, the namespaces of both. Pure.
 */
import { type Cidr, contains, type IpAddress } from "./Ip.ts"
import type { AnycastSpec } from "./NodeConfig.ts"

/**
 * Whether a namespace is meant by a name or a glob. `*` is any characters, or none; everything else is itself. Each part
 * between two stars is looked for once, from where the last one was found, so no text takes longer than its length times
 * the glob's.
 */
export const matchesGlob = (glob: string, name: string): boolean => {
  const [first = "", ...parts] = glob.split("*")
  const last = parts.pop()
  if (last === undefined) return name === glob
  if (!name.startsWith(first)) return false
  let at = first.length
  for (const part of parts) {
    const found = name.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return name.length - last.length >= at && name.endsWith(last)
}

/** The prefix that decides about an address. */
export interface Decisive {
  readonly cidr: Cidr
  /** The names and globs that may have it; undefined: it is of `allowedCIDRs`. */
  readonly namespaces: ReadonlyArray<string> | undefined
  /** Of the grants that decide. */
  readonly communities: ReadonlyArray<string>
}

/** Undefined: no prefix of either list holds it. */
export const decisiveFor = (address: IpAddress, { allowedCIDRs, grants }: AnycastSpec): Decisive | undefined => {
  const open = allowedCIDRs.filter((cidr) => contains(cidr, address))
  const granted = grants.filter(({ cidr }) => contains(cidr, address))
  const cidrs = [...granted.map(({ cidr }) => cidr), ...open]
  const longest = cidrs.find((cidr) => cidrs.every(({ prefix }) => prefix <= cidr.prefix))
  if (longest === undefined) return undefined
  const deciding = granted.filter(({ cidr }) => cidr.prefix === longest.prefix)
  return {
    cidr: longest,
    namespaces: deciding.length === 0 ? undefined : deciding.flatMap((it) => it.namespaces),
    communities: [...new Set(deciding.flatMap((it) => it.communities))]
  }
}

export const isFor = ({ namespaces }: Decisive, namespace: string): boolean =>
  namespaces === undefined || namespaces.some((glob) => matchesGlob(glob, namespace))

/** The prefixes that a namespace may have something of, as they stand in the lists. */
export const openTo = ({ allowedCIDRs, grants }: AnycastSpec, namespace: string): ReadonlyArray<Cidr> => [
  ...allowedCIDRs,
  ...grants.filter(({ namespaces }) => namespaces.some((glob) => matchesGlob(glob, namespace))).map(({ cidr }) => cidr)
]
