/**
 * How many addresses pods may have announced: a router that gets more prefixes than it is set for ends the session, and
 * with it the node's network. Counted are distinct anycast and chosen addresses, so several pods with one address take one
 * place. Pure.
 */
import type { IpAddress } from "./Ip.ts"
import type { NodeConfigSpec } from "./NodeConfig.ts"

/** Distinct anycast and chosen addresses of this node's pods. */
export interface Announced {
  /** Of one namespace's pods, or of all. */
  readonly count: (namespace?: string) => number
  readonly has: (address: IpAddress, namespace?: string) => boolean
}

export interface OverLimit {
  readonly field: "maxPerPod" | "maxPerNamespace" | "maxPerNode"
  /** As it would be. */
  readonly count: number
  readonly limit: number
}

/**
 * Whether a pod's addresses, all that it would have and each once, are too many; undefined: they are not. What a namespace
 * or the node announces already takes no place, so that a limit made smaller stops no replica of a pod that runs.
 */
export const overLimit = (
  addresses: ReadonlyArray<IpAddress>,
  namespace: string,
  { anycast }: NodeConfigSpec,
  announced: Announced
): OverLimit | undefined => {
  if (addresses.length > anycast.maxPerPod) {
    return { field: "maxPerPod", count: addresses.length, limit: anycast.maxPerPod }
  }
  const scopes = [
    { field: "maxPerNamespace", namespace: [namespace] },
    { field: "maxPerNode", namespace: [] }
  ] as const
  for (const { field, namespace: scope } of scopes) {
    const more = addresses.filter((address) => !announced.has(address, ...scope)).length
    const count = announced.count(...scope) + more
    if (more > 0 && count > anycast[field]) return { field, count, limit: anycast[field] }
  }
  return undefined
}

const WHOSE = {
  maxPerPod: ["the pod asks for", ""],
  maxPerNamespace: ["its namespace would have", " on this node"],
  maxPerNode: ["this node would have", ""]
} as const

/** A sentence, as far as its end. */
export const limitWords = ({ count, field, limit }: OverLimit): string => {
  const [who, where] = WHOSE[field]
  return `${who} ${count} anycast and chosen addresses${where}; spec.anycast.${field} is ${limit}`
}
