/** The `addresses` and `anycast` annotations, checked: addresses that a pod names itself, against the allow-list. */
import { Result } from "effect"
import { addressProblem } from "../domain/addressRules.ts"
import type { Annotations } from "../domain/annotations.ts"
import { AddressError } from "../domain/errors.ts"
import { type Cidr, contains, equalAddress, formatAddress, formatCidr, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { AddressView } from "./AddressTable.ts"
import { reservedIn } from "./reserved.ts"

export interface Asked {
  /** Primary addresses in place of IPAM's. */
  readonly chosen: ReadonlyArray<IpAddress>
  /** Those whose family the pod has. */
  readonly anycast: ReadonlyArray<IpAddress>
}

type Name = "addresses" | "anycast"

const refuse = (reason: AddressError["reason"], annotation: Name, address: IpAddress, problem: string) =>
  new AddressError({ reason, annotation, message: `annotation ${annotation}: ${formatAddress(address)} ${problem}` })

/** What forbids an address whoever asks and whatever is in use. */
const forbidden = (spec: NodeConfigSpec, name: Name, address: IpAddress): AddressError | undefined => {
  const special = addressProblem("pod", address)
  if (special !== undefined) return refuse("Invalid", name, address, `is ${special}; it must be ordinary unicast`)
  const { allowedCIDRs } = spec.anycast
  if (!allowedCIDRs.some((cidr) => contains(cidr, address))) {
    const list = allowedCIDRs.slice(0, 4).map(formatCidr).join(", ") + (allowedCIDRs.length > 4 ? ", ..." : "")
    const state = allowedCIDRs.length === 0 ? "which is empty: nothing is allowed" : list
    return refuse("NotAllowed", name, address, `is not in this node's spec.anycast.allowedCIDRs, ${state}`)
  }
  for (const node of [spec.cidr6, spec.cidr4]) {
    const why = node && reservedIn(node, address)
    if (why !== undefined) return refuse("Invalid", name, address, `is ${why} of this node; choose another`)
  }
  return undefined
}

const chosenProblem = (
  view: AddressView,
  annotations: Annotations,
  nodes: ReadonlyArray<Cidr>,
  address: IpAddress
): AddressError | undefined => {
  if (!nodes.some((node) => node.family === address.family)) {
    const problem = `cannot be used: the pod has no IPv${address.family} on this node`
    return refuse("NoFamily", "addresses", address, problem)
  }
  if (annotations.anycast.some((a) => equalAddress(a, address))) {
    return refuse("Invalid", "addresses", address, "is listed in anycast too; keep it in one of the two")
  }
  const holder = view.primaryOwner(address)
  if (holder !== undefined) return refuse("InUse", "addresses", address, `is in use by ${holder}; choose another`)
  const sharer = view.anycastOwner(address)
  return sharer === undefined
    ? undefined
    : refuse("InUse", "addresses", address, `is an anycast address of ${sharer}; choose another`)
}

const anycastProblem = (view: AddressView, address: IpAddress): AddressError | undefined => {
  const holder = view.primaryOwner(address)
  return holder === undefined
    ? undefined
    : refuse("InUse", "anycast", address, `is the primary address of ${holder}; choose another`)
}

/** `nodes`: the node's CIDRs of the families that the pod has. */
export const checkAsked = (
  view: AddressView,
  spec: NodeConfigSpec,
  annotations: Annotations,
  nodes: ReadonlyArray<Cidr>,
  warn: (text: string) => void
): Result.Result<Asked, AddressError> => {
  for (const address of annotations.addresses) {
    const problem = forbidden(spec, "addresses", address) ?? chosenProblem(view, annotations, nodes, address)
    if (problem !== undefined) return Result.fail(problem)
  }
  const anycast: Array<IpAddress> = []
  for (const address of annotations.anycast) {
    const problem = forbidden(spec, "anycast", address) ?? anycastProblem(view, address)
    if (problem !== undefined) return Result.fail(problem)
    if (nodes.some((node) => node.family === address.family)) anycast.push(address)
    else warn(`annotation anycast: ${formatAddress(address)} skipped, the pod has no IPv${address.family}`)
  }
  return Result.succeed({ chosen: annotations.addresses, anycast })
}
