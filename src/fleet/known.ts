/** What a node knows of its fleet: what the watches said, and its own writes, which they may be behind of. Pure. */
import { record } from "../domain/record.ts"
import type { NodeObject, OwnNodeConfig } from "../kube/fleetApi.ts"
import type { Signal } from "../kube/reflector.ts"
import { isNewer, versionOf } from "./objects.ts"

export interface Known {
  /** By name; undefined: not listed yet. */
  readonly templates: ReadonlyMap<string, unknown> | undefined
  readonly node: NodeObject | undefined
  readonly own: OwnNodeConfig
}

/** Of a Node that nobody asks about. */
export const NOTHING: Omit<NodeObject, "resourceVersion"> = { labels: {}, annotations: {}, podCIDRs: [] }

const nameOf = (object: unknown): string => String(record(record(object)["metadata"])["name"] ?? "")

const newer = (before: unknown, object: unknown): unknown =>
  before === undefined || isNewer(versionOf(object), versionOf(before)) ? object : before

/** An older object than one that was written here meanwhile does not take its place. */
export const onTemplates = (known: Known, signal: Signal<unknown>): Known => {
  const before = known.templates ?? new Map<string, unknown>()
  switch (signal._tag) {
    case "Listed":
      return {
        ...known,
        templates: new Map(signal.items.map((item) => [nameOf(item), newer(before.get(nameOf(item)), item)]))
      }
    case "Changed":
      return {
        ...known,
        templates: new Map(before).set(nameOf(signal.item), newer(before.get(nameOf(signal.item)), signal.item))
      }
    case "Removed": {
      const templates = new Map(before)
      templates.delete(nameOf(signal.item))
      return { ...known, templates }
    }
    case "Failed":
    case "Resumed":
      return known
  }
}

export const onNode = (known: Known, signal: Signal<NodeObject>): Known => {
  const node = signal._tag === "Listed" ? signal.items[0] : signal._tag === "Changed" ? signal.item : undefined
  return node === undefined ? known : { ...known, node }
}

export const onOwn = (known: Known, { listed, object }: OwnNodeConfig): Known => ({
  ...known,
  own: { listed, object: object === undefined ? undefined : newer(known.own.object, object) }
})

export const UNKNOWN: Known = { templates: undefined, node: undefined, own: { listed: false, object: undefined } }
