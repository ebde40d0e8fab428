/** Turning the node into a router, by sysctls (Documentation/networking/ip-sysctl.rst). */
import { Effect } from "effect"
import { closeSync, readdirSync, write } from "node:fs"
import { errorCode, type Namespaces, openSysctl, readSysctl } from "./namespace.ts"

interface Setting {
  readonly name: string
  readonly value: string
}

const interfacesOf = (tree: "ipv4" | "ipv6"): ReadonlyArray<string> => {
  try {
    return readdirSync(`/proc/sys/net/${tree}/conf`)
  } catch {
    return []
  }
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
  // The kernel uses the larger of `all` and the interface's own: an interface keeps its strictness, `all` loses it.
  want("ipv4/conf/all/rp_filter", "2", (current) => current === "1")
  want("ipv4/conf/default/rp_filter", "2", (current) => current === "1")
  for (const name of interfaces.ipv4) {
    if (name.startsWith("flock")) want(`ipv4/conf/${name}/rp_filter`, "2", (current) => current === "1")
  }
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
