/** Turning the node into a router, and pods' links into links that learn nothing, by sysctls and rtnetlink. */
import { Effect } from "effect"
import { closeSync, write } from "node:fs"
import { constants } from "node:os"
import { cidr, contains, equalAddress, formatAddress, formatCidr } from "../domain/Ip.ts"
import { GATEWAY6 } from "../domain/PodAddresses.ts"
import { collect, readAddress, readKind, readLink, readRoute } from "./answers.ts"
import { errnoName, type Received } from "./codec.ts"
import * as C from "./constants.ts"
import { differingInet6, differsInLinkSettings, writeInet6 } from "./hostEnd.ts"
import { errorCode, listSysctls, type Namespaces, openSysctl, readSysctl, type SysctlFolder } from "./namespace.ts"
import { LINK_NAME, type NetlinkError, type Prepared } from "./Netlink.ts"
import * as R from "./requests.ts"
import type { DumpSocket, RequestSocket } from "./socket.ts"

const { ENODEV } = constants.errno

interface Setting {
  readonly name: string
  readonly value: string
}

/**
 * IPv4 settings in which the kernel uses the larger of `all` and the link's own value (include/linux/inetdevice.h), and
 * which must be 0 on pods' links: what `all` demands is moved to each other link, and to `default` for those to come,
 * before `all` becomes 0.
 *
 * - `rp_filter`: on a link without an IPv4 address even loose mode (2) drops every source that is not routed back through
 *   that link (`no_addr` in net/ipv4/fib_frontend.c), so a pod that is no longer Ready could not finish its connections
 *   from an anycast address.
 * - `send_redirects`: a tenant must not make the node speak of its neighbours.
 * - `arp_ignore`: the gateway is no address of the link that is asked for it.
 */
const KEPT_OFF_PODS = ["rp_filter", "send_redirects", "arp_ignore"]

const keepOffPods = (
  read: (name: string) => string | undefined,
  names: ReadonlyArray<string>,
  key: string
): ReadonlyArray<Setting> => {
  const all = Number(read(`ipv4/conf/all/${key}`) ?? 0)
  if (all === 0) return []
  const others = names.filter((name) => name !== "all" && !LINK_NAME.test(name)).flatMap(
    (link): ReadonlyArray<Setting> => {
      const name = `ipv4/conf/${link}/${key}`
      return Number(read(name) ?? 0) < all ? [{ name, value: String(all) }] : []
    }
  )
  return [...others, { name: `ipv4/conf/all/${key}`, value: "0" }]
}

/**
 * What differs, in the order it has to be set: forwarding makes the kernel ignore router advertisements where
 * `accept_ra` is 1, so that goes first. `uplinks` are named one by one: every link to come inherits `default`, pods' too.
 */
export const plan = (
  read: (name: string) => string | undefined,
  interfaces: { readonly ipv4: ReadonlyArray<string>; readonly uplinks: ReadonlyArray<string> }
): ReadonlyArray<Setting> => {
  const settings: Array<Setting> = []
  const want = (name: string, value: string, when: (current: string) => boolean = (current) => current !== value) => {
    const current = read(name)
    if (current !== undefined && when(current)) settings.push({ name, value })
  }
  for (const name of interfaces.uplinks) want(`ipv6/conf/${name}/accept_ra`, "2", (current) => current === "1")
  want("ipv6/conf/all/forwarding", "1")
  want("ipv4/ip_forward", "1")
  want("ipv6/fib_multipath_hash_policy", "1")
  want("ipv4/fib_multipath_hash_policy", "1")
  return [...settings, ...KEPT_OFF_PODS.flatMap((key) => keepOffPods(read, interfaces.ipv4, key))]
}

/** Kinds of links that lead into containers and virtual machines, as a rule. */
const INTO_CONTAINERS: ReadonlySet<string | undefined> = new Set(["veth", "tun", "netkit"])

/**
 * Links that a router may be heard on: cards, bonds, VLANs, bridges. A veth or tap is one only if it has a route from a
 * router advertisement already, as the uplink of a node that is a container itself has.
 */
const uplinksOf = (links: ReadonlyArray<Received>, learned: ReadonlySet<number>): ReadonlyArray<string> =>
  links.flatMap((message) => {
    const link = readLink(message)
    if (link === undefined || link.ifName === "lo" || LINK_NAME.test(link.ifName)) return []
    return INTO_CONTAINERS.has(readKind(message)) && !learned.has(link.ifIndex) ? [] : [link.ifName]
  })

/** Interface whose sysctl directory vanished between listing and opening. */
const GONE = new Set(["ENOENT"])

const apply = (namespaces: Namespaces, { name, value }: Setting): Effect.Effect<string | undefined> =>
  Effect.callback<string | undefined>((resume) => {
    const done = (code: string | undefined) =>
      resume(Effect.succeed(code === undefined || GONE.has(code) ? undefined : `cannot set ${name}=${value}: ${code}`))
    try {
      const fd = namespaces.visit(namespaces.host, () => openSysctl(name))
      write(fd, value, (error) => {
        closeSync(fd)
        done(error ? errorCode(error) : undefined)
      })
    } catch (error) {
      done(errorCode(error))
    }
  })

export interface PrepareContext {
  readonly namespaces: Namespaces
  readonly host: RequestSocket
  readonly dumps: DumpSocket
  /** `ipv6/conf` of the node; undefined: the kernel has no IPv6. */
  readonly conf: SysctlFolder | undefined
}

const routesOf = (dumps: DumpSocket, protocol: number) =>
  Effect.map(
    dumps.dump(`list IPv6 routes of protocol ${protocol}`, R.dumpRoutes(6, protocol), true),
    (messages) => collect(messages, readRoute).filter((route) => route.protocol === protocol)
  ).pipe(
    // A new namespace has no table at all until its first address.
    Effect.catchIf((error) => error.errno === "ENOENT", () => Effect.succeed([]))
  )

const LINK_LOCAL = cidr("fe80::/10")

/** Takes away what a link has learned from router advertisements and redirects: routes, prefixes, addresses. */
const unlearn = (context: PrepareContext, indices: ReadonlySet<number>): Effect.Effect<void, NetlinkError> =>
  Effect.gen(function*() {
    const routes = yield* Effect.forEach(
      [C.RTPROT_RA, C.RTPROT_KERNEL, C.RTPROT_REDIRECT],
      (protocol) => routesOf(context.dumps, protocol)
    )
    const addresses = collect(
      yield* context.dumps.dump("list IPv6 addresses", R.dumpAddresses(6, 0)),
      readAddress
    ).filter((a) => indices.has(a.ifIndex) && !equalAddress(a.address, GATEWAY6))
    const learned = routes.flat().flatMap(({ destination, nextHops, protocol }) =>
      contains(LINK_LOCAL, { family: 6, value: destination.base })
        ? []
        : nextHops.filter((hop) => indices.has(hop.ifIndex)).map((hop) => ({ destination, protocol, hop }))
    )
    yield* context.host.request([
      ...addresses.map((a) => R.deleteAddress(a.ifIndex, a.address, a.prefix)),
      ...learned.map(({ destination, hop, protocol }) => R.deleteHop(destination, protocol, hop))
    ])
    const found = [
      ...learned.map(({ destination }) => formatCidr(destination)),
      ...addresses.map((a) => formatAddress(a.address))
    ]
    if (found.length === 0) return
    yield* Effect.logWarning(`pods' links had learned from what the pods sent; removed: ${found.join(", ")}`)
  })

/** Links whose settings are written without other work in between. */
const LINKS_PER_TURN = 16

/** Sets what differs on each host end, of this agent or one before it. */
const guardHostEnds = (context: PrepareContext, links: ReadonlyArray<Received>) =>
  Effect.gen(function*() {
    const ends = links.flatMap((message) => {
      const link = readLink(message)
      if (link === undefined || !LINK_NAME.test(link.ifName)) return []
      const settings = differsInLinkSettings(message)
      const inet6 = differingInet6(message)
      return settings || inet6.length > 0 ? [{ ...link, settings, inet6 }] : []
    })
    const problems: Array<string> = []
    for (let at = 0; at < ends.length; at += LINKS_PER_TURN) {
      for (const { ifName, inet6 } of ends.slice(at, at + LINKS_PER_TURN)) {
        if (inet6.length === 0 || context.conf === undefined) continue
        try {
          writeInet6(context.conf, ifName, inet6)
        } catch (error) {
          if (!GONE.has(errorCode(error))) problems.push(`cannot set ipv6/conf/${ifName}: ${errorCode(error)}`)
        }
      }
      yield* Effect.yieldNow
    }
    const ipv4 = ends.filter((end) => end.settings)
    const replies = yield* context.host.request(
      ipv4.map(({ ifIndex }) => R.hostLinkSettings(ifIndex, undefined, context.conf !== undefined))
    )
    for (const [i, { ack }] of replies.entries()) {
      if (ack.code !== 0 && ack.code !== ENODEV) {
        problems.push(`cannot set the settings of ${ipv4[i]?.ifName}: ${errnoName(ack.code)}`)
      }
    }
    const listened = new Set(
      ends.filter(({ inet6 }) => inet6.some(({ name }) => name === "accept_ra")).map(({ ifIndex }) => ifIndex)
    )
    if (listened.size > 0) yield* unlearn(context, listened)
    // One that is not up yet is an ADD's, which is about to set them.
    const restored = ends.filter(({ up }) => up).map(({ ifName }) => `settings of ${ifName}`)
    return { restored, problems }
  })

/** Sets what differs. Costs little where nothing does. */
export const prepareHost = (context: PrepareContext): Effect.Effect<Prepared, NetlinkError> =>
  Effect.gen(function*() {
    const { dumps, namespaces } = context
    const links = yield* dumps.dump("list links", R.dumpLinks)
    const learned = context.conf !== undefined ? yield* routesOf(dumps, C.RTPROT_RA) : []
    const uplinks = uplinksOf(links, new Set(learned.flatMap((route) => route.nextHops.map((hop) => hop.ifIndex))))
    const settings = namespaces.visit(
      namespaces.host,
      () => plan(readSysctl, { ipv4: listSysctls("ipv4/conf"), uplinks })
    )
    const problems = yield* Effect.forEach(settings, (setting) => apply(namespaces, setting))
    const ends = yield* guardHostEnds(context, links)
    return {
      restored: [...settings.map(({ name, value }) => `${name}=${value}`), ...ends.restored],
      problems: [...problems.filter((problem) => problem !== undefined), ...ends.problems]
    }
  })
