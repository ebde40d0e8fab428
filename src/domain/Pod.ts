/**
 * The little that flock needs of a Pod, taken from the API's object or from a standalone YAML file of the same shape.
 */
import { record, records } from "./record.ts"

/** Characters of an annotation that are looked at, and one more: so that what is too long is seen to be. */
export const MAX_ANNOTATION = 4096
/** flock's annotations of one Pod that are kept; there are fewer names than that. */
export const MAX_ANNOTATIONS = 32

/** Prefix of every annotation that flock reads. */
export const ANNOTATION_PREFIX = "flock.fritzlab.net/"

export interface PodInfo {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  /** Condition `Ready` is `True`. */
  readonly ready: boolean
  /** `metadata.deletionTimestamp` is set. */
  readonly deleting: boolean
  /** `status.phase` after which no container runs again, whatever the conditions say; absent: another phase. */
  readonly ended?: "Succeeded" | "Failed"
  /** Only flock's own annotations, without {@link ANNOTATION_PREFIX}. */
  readonly annotations: Readonly<Record<string, string>>
  /** Lower-case hex of the first container's image digest (`sha256:` removed), where the image or status names it. */
  readonly imageDigest?: string
}

const text = (u: unknown): string => typeof u === "string" ? u : ""

/** The API server takes strings only; a file may say `ipv4: false` without quotes. */
const annotationText = (u: unknown): string => typeof u === "boolean" || typeof u === "number" ? String(u) : text(u)

/** A copy: a slice would keep the whole alive, and a Pod may have 256 KiB of annotations. */
const bounded = (value: string): string =>
  value.length > MAX_ANNOTATION ? Buffer.from(value.slice(0, MAX_ANNOTATION + 1), "utf16le").toString("utf16le") : value

const DIGEST = /sha256:([0-9a-f]{64})\b/

/** Reads a Pod object. Missing parts become empty; a Pod without a name gives `undefined`. */
export const fromObject = (pod: unknown): PodInfo | undefined => {
  const { metadata, spec, status } = record(pod)
  const { annotations, deletionTimestamp, name, namespace, uid } = record(metadata)
  if (text(name) === "") return undefined
  const conditions = records(record(status)["conditions"])
  const images = [
    ...records(record(spec)["containers"]).slice(0, 1).map(({ image }) => text(image)),
    ...records(record(status)["containerStatuses"]).slice(0, 1).map(({ imageID }) => text(imageID))
  ]
  const imageDigest = images.map((image) => DIGEST.exec(image)?.[1]).find((digest) => digest !== undefined)
  const { phase } = record(status)
  return {
    namespace: text(namespace) || "default",
    name: text(name),
    uid: text(uid),
    ready: conditions.some((c) => c["type"] === "Ready" && c["status"] === "True"),
    deleting: deletionTimestamp !== undefined && deletionTimestamp !== null,
    ...(phase === "Succeeded" || phase === "Failed" ? { ended: phase } : {}),
    annotations: Object.fromEntries(
      Object.entries(record(annotations))
        .filter(([key]) => key.startsWith(ANNOTATION_PREFIX))
        .slice(0, MAX_ANNOTATIONS)
        .map(([key, value]) => [key.slice(ANNOTATION_PREFIX.length), bounded(annotationText(value))])
    ),
    ...(imageDigest === undefined ? {} : { imageDigest })
  }
}

/** `namespace/name`. */
export const podKey = (pod: { readonly namespace: string; readonly name: string }): string =>
  `${pod.namespace}/${pod.name}`
