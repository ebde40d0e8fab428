/** Names of BIRD's protocols: symbols of letters, digits and `_`, at most 64 (SYM_MAX_LEN of conf/conf.h). */
import { formatAddress } from "../domain/Ip.ts"
import type { PeerPlace } from "../domain/peerAddress.ts"

/** No two interfaces have the same. */
const symbolOf = (ifName: string): string => ifName.replace(/[^a-zA-Z0-9]/g, (c) => `_${c.charCodeAt(0).toString(16)}`)

/** From what the operator wrote, so that neither another peer nor another router on the link changes it. */
export const protocolName = ({ address, interface: ifName = "" }: PeerPlace): string => {
  if (address === undefined) return `peer_on_${symbolOf(ifName)}`
  const text = formatAddress(address).replace(/[.:]/g, "_")
  return `peer_${text}${address.zone === undefined ? "" : `_on_${symbolOf(address.zone)}`}`
}
