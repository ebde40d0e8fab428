/** The steps that the kernel decides. */
import type { Holder } from "../anycast/holders.ts"
import type { Allocation } from "../domain/Allocation.ts"
import { type Cidr, equalCidr, formatAddress, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { primaryOf } from "../domain/PodAddresses.ts"
import type { HostRoute } from "../netlink/Netlink.ts"
import type { Kind, Snapshot } from "./snapshot.ts"
import { check, failed, passed, skipped, type Step } from "./step.ts"

const find = (routes: ReadonlyArray<HostRoute>, destination: Cidr) =>
  routes.find((route) => equalCidr(route.destination, destination))

export const kernelSteps = (
  address: IpAddress,
  kind: Kind,
  serving: ReadonlyArray<Holder>,
  primary: Allocation | undefined,
  shouldServe: boolean,
  { kernel }: Snapshot
): ReadonlyArray<Step> => {
  if ("error" in kernel) return [failed("link", `the kernel could not be asked: ${kernel.error}`)]
  const destination = hostCidr(address)
  const announced = find(kernel.exportRoutes, destination)
  if (!shouldServe) {
    const waits = "waits for a pod that is Ready"
    return [
      skipped("link", waits),
      skipped("pod-route", waits),
      announced === undefined
        ? skipped("kernel-route", "withdrawn, as it should be")
        : failed("kernel-route", "a route of protocol 201 is still there; the agent removes it within 2 s")
    ]
  }
  const owners = kind === "pod" && primary !== undefined ? [primary] : serving.map(({ allocation }) => allocation)
  const names = [...new Set(owners.map(({ hostIfName }) => hostIfName))]
  const down = names.filter((name) => kernel.links.find(({ ifName }) => ifName === name)?.up !== true)
  const indexes = new Map(kernel.links.map(({ ifIndex, ifName }) => [ifName, ifIndex]))
  const unrouted = owners.flatMap(({ addresses }) => primaryOf(addresses, address.family) ?? [])
    .filter((primary) => find(kernel.podRoutes, hostCidr(primary)) === undefined)
  const reached = names.filter((name) => announced?.nextHops.some(({ ifIndex }) => ifIndex === indexes.get(name)))
  return [
    check(
      down.length < names.length,
      "link",
      down.length === 0 ? `${names.join(", ")} up` : `${down.join(", ")} ${down.length > 1 ? "are" : "is"} gone or down`
    ),
    unrouted.length === 0
      ? passed("pod-route", "the host has its route (protocol 200)")
      : failed("pod-route", `the host has no route of protocol 200 to ${unrouted.map(formatAddress).join(", ")}`),
    kind === "pod"
      ? skipped("kernel-route", "covered by the node's prefix")
      : announced === undefined
      ? failed("kernel-route", "the kernel has no route of protocol 201 to it; the agent adds it within 2 s")
      : check(
        reached.length > 0,
        "kernel-route",
        reached.length > 0
          ? `protocol 201 by ${reached.join(", ")}${
            reached.length < names.length ? ` (${reached.length} of ${names.length} pods)` : ""
          }`
          : "the route of protocol 201 leads to none of the serving pods' links; the agent replaces it within 2 s"
      )
  ]
}
