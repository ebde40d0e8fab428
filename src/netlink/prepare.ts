/** Turning the node into a router, by sysctls (Documentation/networking/ip-sysctl.rst). */
import { Effect } from "effect"
import { closeSync, write } from "node:fs"
import { errorCode, listSysctls, type Namespaces, openSysctl, readSysctl } from "./namespace.ts"
import { LINK_NAME } from "./Netlink.ts"

interface Setting {
  readonly name: string
  readonly value: string
}

const interfacesOf = (tree: "ipv4" | "ipv6"): ReadonlyArray<string> => listSysctls(`${tree}/conf`)

/**
 * Source checks off for pods' links. On a link without an IPv4 address even loose mode (2) drops every source that is
 * not routed back through that link (`no_addr` in net/ipv4/fib_frontend.c), so a pod that is no longer Ready could not
 * finish its connections from an anycast address. The kernel uses the larger of `all` and the link's own value: what
 * `all` demands is moved to each other link before `all` becomes 0.
 */
const reversePath = (
  read: (name: string) => string | undefined,
  names: ReadonlyArray<string>
): ReadonlyArray<Setting> => {
  const settings: Array<Setting> = []
  const all = Number(read("ipv4/conf/all/rp_filter") ?? 0)
  for (const link of names.filter((name) => name !== "all")) {
    const name = `ipv4/conf/${link}/rp_filter`
    const own = Number(read(name) ?? 0)
    const value = LINK_NAME.test(link) ? 0 : Math.max(all, own)
    if (own !== value) settings.push({ name, value: String(value) })
  }
  return all === 0 ? settings : [...settings, { name: "ipv4/conf/all/rp_filter", value: "0" }]
}

/**
 * What differs, in the order it has to be set: forwarding makes the kernel ignore router advertisements where
 * `accept_ra` is 1, so that goes first.
 */
export const plan = (
  read: (name: string) => string | undefined,
  interfaces: { readonly ipv4: ReadonlyArray<string>; readonly ipv6: ReadonlyArray<string> }
): ReadonlyArray<Setting> => {
  const settings: Array<Setting> = []
  const want = (name: string, value: string, when: (current: string) => boolean = (current) => current !== value) => {
    const current = read(name)
    if (current !== undefined && when(current)) settings.push({ name, value })
  }
  for (const name of interfaces.ipv6) want(`ipv6/conf/${name}/accept_ra`, "2", (current) => current === "1")
  want("ipv6/conf/all/forwarding", "1")
  want("ipv4/ip_forward", "1")
  want("ipv6/fib_multipath_hash_policy", "1")
  want("ipv4/fib_multipath_hash_policy", "1")
  settings.push(...reversePath(read, interfaces.ipv4))
  return settings
}

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

/** Sets what differs; the result says in words what could not be set. */
export const prepareHost = (namespaces: Namespaces): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const settings = namespaces.visit(namespaces.host, () =>
      plan(readSysctl, { ipv4: interfacesOf("ipv4"), ipv6: interfacesOf("ipv6") }))
    return Effect.map(
      Effect.forEach(settings, (setting) =>
        apply(namespaces, setting)),
      (problems) => problems.filter((problem) => problem !== undefined)
    )
  })
