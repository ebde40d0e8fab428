/** The result of ADD, in the shape of the version that was asked for (CNI spec, section 5, "Success"). */
import type { Allocation } from "../domain/Allocation.ts"
import { bitsOf, formatAddress, type IpAddress } from "../domain/Ip.ts"
import { gatewayOf, primariesOf } from "../domain/PodAddresses.ts"
import { items, records } from "../domain/record.ts"
import type { PodLink } from "../netlink/Netlink.ts"
import { type CniVersion, SUPPORTED_VERSIONS } from "./spec.ts"

const atLeast = (version: CniVersion, than: CniVersion): boolean =>
  SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(than)

/**
 * What this plugin did, after what earlier plugins of the chain did (`prevResult`). Anycast addresses are not in it: they
 * are on `lo`, which is not an interface of this plugin, and the runtime must not take one for the pod's address.
 */
export const addResult = (
  version: CniVersion,
  allocation: Allocation,
  link: PodLink,
  prevResult?: Readonly<Record<string, unknown>>
): Readonly<Record<string, unknown>> => {
  const before = items(prevResult?.["interfaces"])
  const mtu = atLeast(version, "1.1.0") ? { mtu: allocation.mtu } : {}
  const interfaces = [
    ...before,
    { name: allocation.hostIfName, mac: link.hostMac, ...mtu },
    { name: allocation.ifName, mac: link.podMac, ...mtu, sandbox: allocation.netns }
  ]
  const primaries = primariesOf(allocation.addresses)
  const gateway = ({ family }: IpAddress): string => {
    const address = gatewayOf(allocation.addresses, family)
    return address === undefined ? "" : formatAddress(address)
  }
  const ip = (address: IpAddress) => ({
    // Up to 0.4.0 each address names its family.
    ...(atLeast(version, "1.0.0") ? {} : { version: String(address.family) }),
    interface: before.length + 1,
    address: `${formatAddress(address)}/${bitsOf(address.family)}`,
    gateway: gateway(address)
  })
  return {
    cniVersion: version,
    interfaces,
    ips: [...items(prevResult?.["ips"]), ...primaries.map(ip)],
    routes: [
      ...items(prevResult?.["routes"]),
      ...primaries.map((address) => ({ dst: address.family === 6 ? "::/0" : "0.0.0.0/0", gw: gateway(address) }))
    ],
    dns: prevResult?.["dns"] ?? {}
  }
}

/** CHECK, section 4: what in `prevResult` contradicts the allocation, in words. */
export const prevResultProblems = (
  allocation: Allocation,
  prevResult: Readonly<Record<string, unknown>>
): ReadonlyArray<string> => {
  const ours = records(prevResult["interfaces"]).findIndex((i) =>
    i["name"] === allocation.ifName && Boolean(i["sandbox"])
  )
  if (ours < 0) return [`prevResult lists no interface ${allocation.ifName} in a sandbox`]
  const listed = new Set(
    records(prevResult["ips"]).filter((ip) => ip["interface"] === ours).map((ip) => String(ip["address"]))
  )
  return primariesOf(allocation.addresses)
    .map((address) => `${formatAddress(address)}/${bitsOf(address.family)}`)
    .filter((text) => !listed.has(text))
    .map((text) => `prevResult does not list ${text} on ${allocation.ifName}`)
}
