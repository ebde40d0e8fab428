/**
 * What the host end of a pod's link is set to. Behind it are a tenant's processes, so it learns nothing from what it
 * hears: no router advertisement, redirect, source route or claim of an address. Values are those of
 * Documentation/networking/ip-sysctl.rst. They are the link's own, because every link inherits `conf/default`, which is
 * the operator's.
 *
 * IPv4's `conf/all` overrules a link in some of them (include/linux/inetdevice.h): `prepare.ts` sees to those.
 */
import * as C from "./constants.ts"

/** By `IPV4_DEVCONF_…` (linux/ip.h), as `IFLA_INET_CONF` takes them. */
export const HOST_IPV4: ReadonlyArray<readonly [devconf: number, value: number]> = [
  [C.IPV4_DEVCONF_FORWARDING, 1],
  [C.IPV4_DEVCONF_PROXY_ARP, 1],
  [C.IPV4_DEVCONF_RP_FILTER, 0],
  [C.IPV4_DEVCONF_ACCEPT_REDIRECTS, 0],
  [C.IPV4_DEVCONF_SECURE_REDIRECTS, 0],
  [C.IPV4_DEVCONF_SEND_REDIRECTS, 0],
  [C.IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE, 0],
  [C.IPV4_DEVCONF_BOOTP_RELAY, 0],
  [C.IPV4_DEVCONF_MEDIUM_ID, 0],
  [C.IPV4_DEVCONF_ARP_IGNORE, 0],
  [C.IPV4_DEVCONF_ARP_ACCEPT, 0],
  [C.IPV4_DEVCONF_ACCEPT_LOCAL, 0],
  [C.IPV4_DEVCONF_PROXY_ARP_PVLAN, 0]
]

/**
 * Of a new link, and not kept: `portmap` sets `route_localnet` of the host end of a pod that has host ports, so that the
 * node itself reaches them at 127.0.0.1. Nothing of 127.0.0.0/8 comes in from a pod all the same (`firewall/ruleset.ts`).
 */
export const NEW_HOST_IPV4: ReadonlyArray<readonly [devconf: number, value: number]> = [
  ...HOST_IPV4,
  [C.IPV4_DEVCONF_ROUTE_LOCALNET, 0]
]

export interface Inet6Setting {
  /** Below `/proc/sys/net/ipv6/conf/LINK/`. */
  readonly name: string
  /** `DEVCONF_…` of linux/ipv6.h. */
  readonly devconf: number
  readonly value: number
}

/** rtnetlink shows these and takes none of them; writing one waits for no lock. */
export const HOST_IPV6: ReadonlyArray<Inet6Setting> = [
  { name: "accept_ra", devconf: C.DEVCONF_ACCEPT_RA, value: 0 },
  { name: "accept_redirects", devconf: C.DEVCONF_ACCEPT_REDIRECTS, value: 0 },
  { name: "autoconf", devconf: C.DEVCONF_AUTOCONF, value: 0 },
  { name: "router_solicitations", devconf: C.DEVCONF_RTR_SOLICITS, value: 0 },
  // 0 would still take routing header type 2.
  { name: "accept_source_route", devconf: C.DEVCONF_ACCEPT_SOURCE_ROUTE, value: -1 },
  { name: "accept_dad", devconf: C.DEVCONF_ACCEPT_DAD, value: 0 },
  { name: "drop_unsolicited_na", devconf: C.DEVCONF_DROP_UNSOLICITED_NA, value: 1 },
  { name: "accept_untracked_na", devconf: C.DEVCONF_ACCEPT_UNTRACKED_NA, value: 0 },
  { name: "seg6_enabled", devconf: C.DEVCONF_SEG6_ENABLED, value: 0 },
  { name: "rpl_seg_enabled", devconf: C.DEVCONF_RPL_SEG_ENABLED, value: 0 },
  { name: "ioam6_enabled", devconf: C.DEVCONF_IOAM6_ENABLED, value: 0 }
]
