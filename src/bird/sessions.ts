/** A NodeConfig's peers with what the node itself adds: local ends and passwords. Pure. */
import { Array, Data, type Redacted, Result } from "effect"
import { equalAddress, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfig, NodeConfigSpec, Peer, SecretKeyRef } from "../domain/NodeConfig.ts"
import type { HostInterface } from "../netlink/Netlink.ts"
import { type LocalEnd, localEnd, type NodeAddress } from "./local.ts"
import { birdString, type PasswordUnusable } from "./password.ts"

/** Why a peer has no session yet, or announces less than it should. */
export class PeerProblem extends Data.TaggedError("PeerProblem")<{
  readonly peer: IpAddress
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
  /** Interface index towards a peer, by the peer's address; needed for peers on no connected network. */
  readonly outgoing: ReadonlyMap<string, number>
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
  readonly end: LocalEnd
  /** Hops; 0: directly connected. */
  readonly multihop: number
  readonly password: string | undefined
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

const resolveSession = (
  { interfaces, outgoing, passwords }: RenderInput,
  peer: Peer,
  field: string,
  addresses: ReadonlyArray<NodeAddress>
): Result.Result<Session, PeerProblem> => {
  const text = formatAddress(peer.address)
  const problem = (of: "address" | "passwordSecretRef", detail: string) =>
    Result.fail(new PeerProblem({ peer: peer.address, field: `${field}.${of}`, detail }))
  const end = localEnd(peer.address, addresses, peer.multihop > 0 ? outgoing.get(text) : undefined)
  const owner = interfaces.find((it) => it.addresses.some(({ address }) => equalAddress(address, peer.address)))
  if (end?.reach === "node" && peer.port === BIRD_PORT) {
    return problem(
      "address",
      `"${text}": is this node's own address (${end.ifName}), where port ${BIRD_PORT} is BIRD's own; ` +
        "write the router's address, or the port of the router on this node"
    )
  }
  if (end === undefined || (owner !== undefined && end.reach !== "node")) {
    const where = owner !== undefined
      ? `is this node's own address (${owner.ifName}), which is down`
      : peer.multihop > 0
      ? "no interface with an address of its family leads to it"
      : "the node has no address in its subnet (for a router further away set multihop)"
    return problem("address", `"${text}": ${where}; the session waits`)
  }
  const password = resolvePassword(peer.passwordSecretRef, passwords)
  if (Result.isFailure(password)) return problem("passwordSecretRef", password.failure.message)
  const multihop = peer.multihop > 0 ? peer.multihop : end.reach === "link" ? 0 : 1
  return Result.succeed({ peer, end, multihop, password: password.success })
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
  return { sessions, waiting }
}
