/** A NodeConfig's peers with what the node itself adds: local ends and passwords. Pure. */
import { Array, Data, type Redacted, Result } from "effect"
import { equalAddress, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfig, NodeConfigSpec, Peer, SecretKeyRef } from "../domain/NodeConfig.ts"
import { isLinkLocal, linkOf, peerField, peerName, routedAddress } from "../domain/peerAddress.ts"
import type { HostInterface, RouterNeighbour, Way } from "../netlink/Netlink.ts"
import type { Kept } from "./kept.ts"
import { linkProblem, routerOn } from "./linkRouter.ts"
import { type LocalEnd, localEnd, type NodeAddress, onlyFleeting } from "./local.ts"
import { birdString, type PasswordUnusable } from "./password.ts"
import { protocolName } from "./protocolName.ts"

/** Why a peer has no session yet, or announces less than it should. */
export class PeerProblem extends Data.TaggedError("PeerProblem")<{
  /** BIRD's name of its session. */
  readonly protocol: string
  /** Path in the NodeConfig, such as `spec.bgp.peers[0].address`. */
  readonly field: string
  readonly detail: string
}> {
  override get message(): string {
    return `${this.field}: ${this.detail}`
  }
}

export interface RenderInput {
  readonly nodeName: string
  /** Absent: the bootstrap configuration, kernel and device only. */
  readonly config: NodeConfig | undefined
  readonly interfaces: ReadonlyArray<HostInterface>
  /** How the kernel reaches a peer, by the peer's address. */
  readonly outgoing: ReadonlyMap<string, Way>
  readonly kept: Kept
  /** Sessions that are Established now, by BIRD's name. */
  readonly established: ReadonlySet<string>
  /** The ends that sessions were rendered with last, by BIRD's name of the session. */
  readonly ends: ReadonlyMap<string, LocalEnd>
  /** On the links of unnumbered peers. */
  readonly routers: ReadonlyArray<RouterNeighbour>
  /** The router that each unnumbered session is with so far, by BIRD's name of the session. */
  readonly found: ReadonlyMap<string, IpAddress>
  /** By {@link secretKey}. */
  readonly passwords: ReadonlyMap<string, Redacted.Redacted>
  /** Exported while the kernel has a route of protocol 201 to them. */
  readonly exportSet: ReadonlyArray<IpAddress>
  /** How many addresses may be exported at most (`exportCeiling`). */
  readonly ceiling: number
  /** The node shuts down: every session is configured, but administratively down. */
  readonly drained: boolean
  /** It is about to: everything is announced as the last choice. */
  readonly leaving: boolean
}

/** Where BIRD itself listens: `bird.conf` names no other port. */
const BIRD_PORT = 179

export const secretKey = (ref: SecretKeyRef): string => `${ref.name}/${ref.key}`

export interface Session {
  readonly peer: Peer
  /** The router's address. */
  readonly remote: IpAddress
  /** The interface that the session is bound to, where `remote` is link-local. */
  readonly link: string | undefined
  readonly end: LocalEnd
  /** The next hop of the family that is not `remote`'s, as it was when the session was Established last. */
  readonly hop?: IpAddress | undefined
  /** `end` is not on the node for the moment. */
  readonly gone?: boolean
  /** Hops; 0: directly connected. */
  readonly multihop: number
  readonly password: string | undefined
  /** What is in its way for the moment, although it is configured. */
  readonly problem: PeerProblem | undefined
}

type Place = Pick<Session, "remote" | "link" | "end" | "hop" | "gone" | "multihop"> & {
  readonly detail?: string | undefined
}

class SecretMissing extends Data.TaggedError("SecretMissing")<{ readonly ref: SecretKeyRef }> {
  override get message(): string {
    return `"${secretKey(this.ref)}": there is no such Secret or key; the session waits for it`
  }
}

const resolvePassword = (
  ref: SecretKeyRef | undefined,
  passwords: RenderInput["passwords"]
): Result.Result<string | undefined, SecretMissing | PasswordUnusable> => {
  if (ref === undefined) return Result.succeed(undefined)
  const secret = passwords.get(secretKey(ref))
  return secret === undefined
    ? Result.fail(new SecretMissing({ ref }))
    : birdString(secret)
}

/** Why there is no session, in words that follow the peer, or its `localAddress`. */
type NoPlace = string | { readonly local: string }

const localDetail = (named: IpAddress, addresses: ReadonlyArray<NodeAddress>): string => {
  const it = addresses.find(({ address }) => equalAddress(address, named))
  const why = it === undefined
    ? "the node does not have it"
    : !it.up
    ? `${it.ifName}, which has it, is down`
    : `no session with the router can be over it (${it.ifName}); for a router further away set multihop`
  return `"${formatAddress(named)}": ${why}; the session waits`
}

/** A session over routed addresses; a string says why there is none. */
const routedPlace = (
  { ends, established, interfaces, kept, outgoing }: RenderInput,
  peer: Peer,
  remote: IpAddress,
  addresses: ReadonlyArray<NodeAddress>
): Place | NoPlace => {
  const name = protocolName(peer)
  const { hop, local } = kept.ends.get(name) ?? {}
  const distant = peer.multihop > 0
  const way = outgoing.get(formatAddress(remote))
  const named = peer.localAddress
  const there = localEnd(remote, addresses, { named, kept: local, isAlive: established.has(name), distant, way })
  const held = named === undefined || (local !== undefined && equalAddress(named, local))
    ? heldEnd(ends.get(name), local)
    : undefined
  const end = there ?? held
  const owner = interfaces.find((it) => it.addresses.some(({ address }) => equalAddress(address, remote)))
  if (end?.reach === "node" && peer.port === BIRD_PORT) {
    return `is this node's own address (${end.ifName}), where port ${BIRD_PORT} is BIRD's own; ` +
      "write the router's address, or the port of the router on this node"
  }
  if (end === undefined && named !== undefined && owner === undefined) return { local: localDetail(named, addresses) }
  if (end === undefined || (owner !== undefined && end.reach !== "node")) {
    const where = owner !== undefined
      ? `is this node's own address (${owner.ifName}), which is down`
      : distant
      ? "no interface with an address of its family leads to it"
      : onlyFleeting(remote, addresses)
      ? "all addresses that the node has in its subnet are deprecated, temporary or secondary"
      : "the node has no address in its subnet (for a router further away set multihop)"
    return `${where}; the session waits`
  }
  const multihop = distant ? peer.multihop : end.reach === "link" ? 0 : 1
  const place = { remote, link: undefined, end, hop, multihop }
  return there !== undefined ? place : {
    ...place,
    gone: true,
    detail: `${formatAddress(end.address)}, which the session has, is gone from ${end.ifName}; the session waits for it`
  }
}

/**
 * An address that goes may be back in a moment (a lease that is renewed, a network manager that starts anew, IPv6 on a link
 * that bounces): the session is not taken out of `bird.conf` for that, which would make its router withdraw at once.
 */
const heldEnd = (last: LocalEnd | undefined, kept: IpAddress | undefined): LocalEnd | undefined =>
  last !== undefined && kept !== undefined && equalAddress(last.address, kept) ? last : undefined

/** A session over an interface's link-local addresses. */
const linkPlace = ({ found, interfaces, routers }: RenderInput, peer: Peer, ifName: string): Place | string => {
  const link = interfaces.find((it) => it.ifName === ifName)
  const own = link?.addresses.find(({ address }) => isLinkLocal(address))
  const { address: remote, problem } = peer.address === undefined
    ? routerOn(ifName, { interfaces, routers }, found.get(protocolName(peer)))
    : { address: peer.address, problem: linkProblem(interfaces, ifName) }
  if (remote === undefined) return `${problem}; the session waits`
  if (link?.addresses.some(({ address }) => equalAddress(address, remote)) === true) return "is this node's own address"
  const end: LocalEnd = {
    ...own ?? { address: remote, prefix: 64, standing: "permanent" },
    ifName,
    ifIndex: link?.ifIndex ?? 0,
    up: link?.up ?? false,
    stable: false,
    reach: "link",
    outgoing: link?.ifIndex ?? 0
  }
  return { remote: { family: remote.family, value: remote.value }, link: ifName, end, multihop: 0, detail: problem }
}

const resolveSession = (
  input: RenderInput,
  peer: Peer,
  field: string,
  addresses: ReadonlyArray<NodeAddress>
): Result.Result<Session, PeerProblem> => {
  const problem = (of: "address" | "interface" | "localAddress" | "passwordSecretRef", detail: string) =>
    new PeerProblem({ protocol: protocolName(peer), field: `${field}.${of}`, detail })
  const placeProblem = (detail: string) => problem(peerField(peer), `"${peerName(peer)}": ${detail}`)
  const remote = routedAddress(peer)
  const place = remote === undefined
    ? linkPlace(input, peer, linkOf(peer) ?? "")
    : routedPlace(input, peer, remote, addresses)
  if (typeof place === "string") return Result.fail(placeProblem(place))
  if ("local" in place) return Result.fail(problem("localAddress", place.local))
  const password = resolvePassword(peer.passwordSecretRef, input.passwords)
  if (Result.isFailure(password)) return Result.fail(problem("passwordSecretRef", password.failure.message))
  const { detail, ...rest } = place
  return Result.succeed({
    ...rest,
    peer,
    password: password.success,
    problem: detail === undefined ? undefined : placeProblem(detail)
  })
}

/** Peers with their local ends and passwords; each that lacks something is in `waiting`, and in nobody's way. */
export const resolveSessions = (
  input: RenderInput,
  spec: NodeConfigSpec,
  addresses: ReadonlyArray<NodeAddress>
): { readonly sessions: ReadonlyArray<Session>; readonly waiting: ReadonlyArray<PeerProblem> } => {
  const [sessions, waiting] = Array.partition(
    spec.bgp?.peers ?? [],
    (peer, i) => resolveSession(input, peer, `spec.bgp.peers[${i}]`, addresses)
  )
  return { sessions, waiting: [...waiting, ...sessions.flatMap(({ problem }) => problem ?? [])] }
}
