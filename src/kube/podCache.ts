/**
 * The pods of this node as flock knows them. Pure: a signal of the watch goes in, the changes that matter come out.
 */
import { fromObject, type PodInfo, podKey } from "../domain/Pod.ts"
import type { PodChange } from "./KubeApi.ts"
import type { Signal } from "./reflector.ts"

export type Pods = ReadonlyMap<string, PodInfo>

const MIRROR = "kubernetes.io/config.mirror"

/**
 * A static pod's mirror in the API has another UID than the one that kubelet gives the runtime; the annotation has the
 * latter, which is what a CNI call and an allocation know.
 */
export const decodePod = (object: unknown): PodInfo | undefined => {
  const pod = fromObject(object)
  if (pod === undefined) return undefined
  const { metadata } = object as { readonly metadata?: { readonly annotations?: Readonly<Record<string, unknown>> } }
  const mirrored = metadata?.annotations?.[MIRROR]
  return typeof mirrored === "string" && mirrored !== "" ? { ...pod, uid: mirrored } : pod
}

const sameAnnotations = (a: PodInfo["annotations"], b: PodInfo["annotations"]): boolean => {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key])
}

const same = (a: PodInfo, b: PodInfo): boolean =>
  a.uid === b.uid && a.ready === b.ready && a.deleting === b.deleting && a.ended === b.ended &&
  a.imageDigest === b.imageDigest &&
  sameAnnotations(a.annotations, b.annotations)

export interface Step {
  readonly pods: Pods
  readonly changes: ReadonlyArray<PodChange>
}

const put = (known: PodInfo | undefined, pod: PodInfo): ReadonlyArray<PodChange> => {
  if (known === undefined) return [{ _tag: "Changed", pod }]
  if (known.uid !== pod.uid) return [{ _tag: "Removed", pod: known }, { _tag: "Changed", pod }]
  return same(known, pod) ? [] : [{ _tag: "Changed", pod }]
}

/**
 * A list is compared with what was known, so that what happened while the watch was cut comes out as changes too. Most
 * events of a Pod (heartbeats, other controllers' fields) change nothing here and come out as no change.
 */
export const step = (pods: Pods, signal: Signal<PodInfo>): Step => {
  switch (signal._tag) {
    case "Failed":
    case "Resumed":
      return { pods, changes: [] }
    case "Listed": {
      const next = new Map(signal.items.map((pod) => [podKey(pod), pod]))
      const gone = [...pods].filter(([key]) => !next.has(key))
      return {
        pods: next,
        changes: [
          ...gone.map(([, pod]): PodChange => ({ _tag: "Removed", pod })),
          ...[...next].flatMap(([key, pod]) => put(pods.get(key), pod))
        ]
      }
    }
    case "Removed": {
      const known = pods.get(podKey(signal.item))
      if (known === undefined || known.uid !== signal.item.uid) return { pods, changes: [] }
      const next = new Map(pods)
      next.delete(podKey(signal.item))
      return { pods: next, changes: [{ _tag: "Removed", pod: known }] }
    }
    case "Changed": {
      const changes = put(pods.get(podKey(signal.item)), signal.item)
      return changes.length === 0
        ? { pods, changes }
        : { pods: new Map(pods).set(podKey(signal.item), signal.item), changes }
    }
  }
}
