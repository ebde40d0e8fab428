/** The source of what the node itself sends along learned routes. Pure. */
import { bitsOf, equalAddress, type Family, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { NodeAddress } from "./local.ts"

/**
 * The node's address that `advertise` has as a host prefix, on `lo` or a dummy: it is reached by every router, while an
 * uplink's own address goes with that uplink, and with it each connection that has it. Absent: the kernel chooses.
 */
export const sourceOf = (
  spec: NodeConfigSpec | undefined,
  family: Family,
  addresses: ReadonlyArray<NodeAddress>
): IpAddress | undefined =>
  addresses.find(({ address, stable }) =>
    stable && address.family === family &&
    (spec?.bgp?.advertise ?? []).some((cidr) =>
      cidr.prefix === bitsOf(family) && equalAddress({ family: cidr.family, value: cidr.base }, address)
    )
  )?.address

/** Of the kernel protocol's export filter. */
export const acceptLearned = (source: IpAddress | undefined): ReadonlyArray<string> =>
  source === undefined
    ? ["if source = RTS_BGP && dest != RTD_UNREACHABLE then accept;", "reject;"]
    : [
      "if source != RTS_BGP || dest = RTD_UNREACHABLE then reject;",
      `krt_prefsrc = ${formatAddress(source)};`,
      "accept;"
    ]
