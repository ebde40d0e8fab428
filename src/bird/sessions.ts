/** A NodeConfig's peers with what the node itself adds: local ends and passwords. Pure. */
import { Data, type Redacted, Result } from "effect"
import { equalAddress, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfig, NodeConfigSpec, Peer, SecretKeyRef } from "../domain/NodeConfig.ts"
import type { HostInterface } from "../netlink/Netlink.ts"
import { isLinkLocal, type LocalEnd, localEnd, type NodeAddress } from "./local.ts"
import { birdString } from "./password.ts"

/** What of a NodeConfig cannot be rendered, or not yet. */
export class RenderProblem extends Data.TaggedError("RenderProblem")<{
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
  /** The node shuts down: every session is configured, but administratively down. */
  readonly drained: boolean
}

export const secretKey = (ref: SecretKeyRef): string => `${ref.name}/${ref.key}`

export interface Session {
  readonly peer: Peer
  readonly end: LocalEnd
  /** Hops; 0: directly connected. */
  readonly multihop: number
  readonly password: string | undefined
}

/** Peers with their local ends and passwords; what is missing goes to `waiting`. */
export const resolveSessions = (
  input: RenderInput,
  spec: NodeConfigSpec,
  addresses: ReadonlyArray<NodeAddress>
): Result.Result<{ sessions: ReadonlyArray<Session>; waiting: ReadonlyArray<RenderProblem> }, RenderProblem> => {
  const sessions: Array<Session> = []
  const waiting: Array<RenderProblem> = []
  for (const [i, peer] of (spec.bgp?.peers ?? []).entries()) {
    const field = `spec.bgp.peers[${i}]`
    const text = formatAddress(peer.address)
    const self = input.interfaces.find((it) => it.addresses.some(({ address }) => equalAddress(address, peer.address)))
    if (self !== undefined) {
      return Result.fail(
        new RenderProblem({
          field: `${field}.address`,
          detail: `"${text}": is this node's own address (${self.ifName}); write the router's`
        })
      )
    }
    if (isLinkLocal(peer.address)) {
      return Result.fail(
        new RenderProblem({
          field: `${field}.address`,
          detail: `"${text}": link-local; write the router's own address`
        })
      )
    }
    const end = localEnd(peer.address, addresses, peer.multihop > 0 ? input.outgoing.get(text) : undefined)
    let password: string | undefined
    if (peer.passwordSecretRef !== undefined) {
      const secret = input.passwords.get(secretKey(peer.passwordSecretRef))
      if (secret === undefined) {
        waiting.push(
          new RenderProblem({
            field: `${field}.passwordSecretRef`,
            detail: `"${secretKey(peer.passwordSecretRef)}": there is no such Secret or key; the session waits for it`
          })
        )
        continue
      }
      const quoted = birdString(secret)
      if (Result.isFailure(quoted)) {
        return Result.fail(new RenderProblem({ field: `${field}.passwordSecretRef`, detail: quoted.failure }))
      }
      password = quoted.success
    }
    if (end === undefined) {
      const where = peer.multihop > 0
        ? "no interface with an address of its family leads to it"
        : "the node has no address in its subnet (for a router further away set multihop)"
      waiting.push(new RenderProblem({ field: `${field}.address`, detail: `"${text}": ${where}; the session waits` }))
      continue
    }
    sessions.push({ peer, end, multihop: peer.multihop > 0 ? peer.multihop : end.direct ? 0 : 1, password })
  }
  return Result.succeed({ sessions, waiting })
}
