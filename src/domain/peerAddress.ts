/** Where a peer of `spec.bgp.peers` is: at an address, or at the other end of an interface. Pure. */
import { Effect, Schema, SchemaIssue, SchemaTransformation } from "effect"
import { addressProblem } from "./addressRules.ts"
import { cidr, contains, formatAddress, type IpAddress, parseAddress } from "./Ip.ts"
import { quote } from "./quote.ts"

/** An address; a link-local one has the interface that it is valid on (`fe80::1%eth0`, RFC 4007 section 11). */
export interface PeerAddress extends IpAddress {
  readonly zone?: string
}

/** Of one of the two, exactly one is there. */
export interface PeerPlace {
  readonly address?: PeerAddress
  readonly interface?: string
}

const LINK_LOCAL = cidr("fe80::/10")

export const isLinkLocal = (address: IpAddress): boolean => contains(LINK_LOCAL, address)

/** IFNAMSIZ - 1 characters, of those that neither a shell nor `bird.conf` has a meaning for. */
const INTERFACE = /^[a-zA-Z0-9][-._a-zA-Z0-9]{0,14}$/

/** Why an interface cannot lead to a router, in words that follow its name; undefined: it may. */
export const interfaceProblem = (name: string): string | undefined =>
  !INTERFACE.test(name)
    ? "must be the name of an interface, such as eth0 or bond0.100: up to 15 letters, digits, -, _ and ., " +
      "a letter or digit first"
    // What a pod sends must never make it a router.
    : name === "lo" || name.startsWith("flock")
    ? "must be an interface that leads to a router, and not the host end of a pod's link (flock...)"
    : undefined

const problemOf = ({ zone, ...address }: PeerAddress): string | undefined => {
  if (zone !== undefined) {
    return isLinkLocal(address)
      ? interfaceProblem(zone)
      : "has an interface, which only a link-local address (fe80::/10) has"
  }
  if (isLinkLocal(address)) {
    return "is link-local (RFC 4291); write the interface as well, such as fe80::1%eth0, or `interface` in its place"
  }
  const special = addressProblem("peer", address)
  return special && `is ${special}; write the router's own global address, such as 2001:db8:ffff::1`
}

export const formatPeerAddress = (address: PeerAddress): string =>
  `${formatAddress(address)}${address.zone === undefined ? "" : `%${address.zone}`}`

/** What the operator wrote, in canonical form: an address, `fe80::1%eth0`, or the name of an interface. */
export const peerName = ({ address, interface: ifName }: PeerPlace): string =>
  address === undefined ? ifName ?? "" : formatPeerAddress(address)

/** The field that names the peer. */
export const peerField = ({ address }: PeerPlace): "address" | "interface" =>
  address === undefined ? "interface" : "address"

/** The interface that an unnumbered session is bound to; undefined: the peer has an address that routes lead to. */
export const linkOf = ({ address, interface: ifName }: PeerPlace): string | undefined => ifName ?? address?.zone

/** The address that routes lead to; undefined: the session is bound to an interface. */
export const routedAddress = ({ address }: PeerPlace): IpAddress | undefined =>
  address === undefined || address.zone !== undefined ? undefined : address

const isPeerAddress = (u: unknown): u is PeerAddress =>
  typeof u === "object" && u !== null && "family" in u && "value" in u

const invalid = (message: string, input: string) =>
  Effect.fail(new SchemaIssue.InvalidValue({ message: `${quote(input)}: ${message}` }, input))

/** Written as text. */
export const PeerAddressFromString = Schema.String.pipe(Schema.decodeTo(
  Schema.declare<PeerAddress>(isPeerAddress),
  SchemaTransformation.transformEffect<PeerAddress, string>({
    decode: (text) => {
      const at = text.indexOf("%")
      const parsed = parseAddress(at < 0 ? text : text.slice(0, at))
      if (parsed === undefined) {
        return invalid("not an IP address, such as 2001:db8::1, 192.0.2.1 or fe80::1%eth0", text)
      }
      const address = at < 0 ? parsed : { ...parsed, zone: text.slice(at + 1) }
      const problem = problemOf(address)
      return problem === undefined ? Effect.succeed(address) : invalid(problem, text)
    },
    encode: (value) => Effect.succeed(formatPeerAddress(value))
  })
))

export const InterfaceName = Schema.String.pipe(Schema.check(Schema.makeFilter(interfaceProblem)))
