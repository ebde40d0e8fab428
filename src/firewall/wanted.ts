/** What the tables' sets should hold, of what the agent knows. Pure. */
import type { Allocation } from "../domain/Allocation.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import type { Wanted } from "./Firewall.ts"
import type { Elements } from "./ruleset.ts"

/** By `podKey`. */
export type Pods = ReadonlyMap<string, PodInfo>

/** A pod that asks to be exempt, in a namespace that the operator lists. */
export const isExempt = (allocation: Allocation, spec: NodeConfigSpec | undefined, pods: Pods): boolean => {
  const { name, namespace, uid } = allocation.pod
  if (name === "" || !(spec?.antiSpoofingExemptNamespaces ?? []).includes(namespace)) return false
  const pod = pods.get(podKey(allocation.pod))
  // A pod of the same name that came after this one is another.
  return pod !== undefined && (uid === "" || pod.uid === "" || pod.uid === uid) &&
    pod.annotations["allow-spoofing"]?.trim() === "true"
}

/**
 * Sources that a link may have without a route back to it: anycast addresses, which have one only while the pod is Ready,
 * and of several pods on a node the kernel may find the other's; and, for a container with several attachments, the
 * addresses of the others, since it answers by whichever has its default route.
 */
export const sourcesOf = (allocations: ReadonlyArray<Allocation>): Elements["sources"] => {
  const byContainer = Map.groupBy(allocations, ({ containerId }) => containerId)
  return allocations.flatMap(({ addresses, containerId, hostIfName }) => {
    const siblings = (byContainer.get(containerId) ?? []).filter((other) => other.hostIfName !== hostIfName)
    const others = siblings.flatMap((other) => [...primariesOf(other.addresses), ...other.addresses.anycast])
    return [...addresses.anycast, ...others].map((address) => ({ ifName: hostIfName, address }))
  })
}

/** `pods` is undefined until they were listed: until then whoever is exempt stays it. */
export const wantedOf = (
  spec: NodeConfigSpec | undefined,
  allocations: ReadonlyArray<Allocation>,
  pods: Pods | undefined
): Wanted => ({
  // Before there is a NodeConfig nobody has switched it off.
  antiSpoofing: spec?.antiSpoofing ?? true,
  sources: sourcesOf(allocations),
  exempt: pods && allocations.filter((one) => isExempt(one, spec, pods)).map(({ hostIfName }) => hostIfName)
})
