/** A host end's settings: read from its link's message; IPv6's are written through `/proc/sys/net`. */
import { readAddressGeneration, readInet6Conf, readInetConf } from "./answers.ts"
import type { Received } from "./codec.ts"
import { IN6_ADDR_GEN_MODE_NONE } from "./constants.ts"
import { HOST_IPV4, HOST_IPV6, type Inet6Setting } from "./hostSettings.ts"
import type { SysctlFolder } from "./namespace.ts"

/**
 * What differs on a link, from its RTM_NEWLINK message. What the message does not carry is a setting that this kernel
 * does not know.
 */
export const differingInet6 = (link: Received): ReadonlyArray<Inet6Setting> => {
  const current = readInet6Conf(link)
  return HOST_IPV6.filter(({ devconf, value }) => {
    const now = current(devconf)
    return now !== undefined && now !== value
  })
}

/** Whether what `hostLinkSettings` sets differs on a link, from its RTM_NEWLINK message. */
export const differsInLinkSettings = (link: Received): boolean => {
  const current = readInetConf(link)
  return HOST_IPV4.some(([devconf, value]) => (current(devconf) ?? value) !== value) ||
    (readAddressGeneration(link) ?? IN6_ADDR_GEN_MODE_NONE) !== IN6_ADDR_GEN_MODE_NONE
}

/** Whether a link's settings are those of a host end. What is not up yet is an ADD's, which sets them before that. */
export const isSettled = (link: Received, up: boolean): boolean =>
  !up || (differingInet6(link).length === 0 && !differsInLinkSettings(link))

/**
 * Writes what differs; throws what open(2) or write(2) gives. `conf`: `ipv6/conf` of the link's namespace. A setting whose
 * file is missing was built out of the kernel.
 */
export const writeInet6 = (conf: SysctlFolder, ifName: string, settings: ReadonlyArray<Inet6Setting>): void => {
  let known: ReadonlySet<string> | undefined
  for (const { name, value } of settings) {
    try {
      conf.write(`${ifName}/${name}`, String(value))
    } catch (error) {
      known ??= new Set(conf.list(ifName))
      if (known.size === 0 || known.has(name)) throw error
    }
  }
}
