/** What one ADD gave to one interface of one container: the record that outlives the agent. */
import { Effect, Schema, SchemaTransformation, Struct } from "effect"
import { PodAddresses } from "./PodAddresses.ts"

/** `containerId/ifName`, unique per attachment (CNI spec 1.1.0, section 2: container ID plus `CNI_IFNAME`). */
export const attachmentKey = (a: { readonly containerId: string; readonly ifName: string }): string =>
  `${a.containerId}/${a.ifName}`

const before = {
  /** Of the format, see `state/format.ts`. A new field that older agents may skip is an optional one, and no new version. */
  version: Schema.Literal(1).pipe(Schema.withDecodingDefaultKey(Effect.succeed(1 as const))),
  /** `/proc/sys/kernel/random/boot_id`: a record of another boot describes no pod that still runs. */
  bootId: Schema.String,
  /** `name` of the CNI network configuration: GC of one network never touches another's attachments. */
  network: Schema.String,
  containerId: Schema.String,
  ifName: Schema.String,
  netns: Schema.String,
  /** Empty strings where the runtime is not Kubernetes. */
  pod: Schema.Struct({ namespace: Schema.String, name: Schema.String, uid: Schema.String }),
  hostIfName: Schema.String,
  /** Bytes. */
  mtu: Schema.Int
}
const after = {
  /** Rebuilt from the kernel before NodeConfig and pod were known: what these tell is still to be filled in. */
  incomplete: Schema.optionalKey(Schema.Literal(true)),
  /** RFC 3339. */
  createdAt: Schema.String
}

/** In the record the addresses are fields like the others. */
const Flat = Schema.Struct({ ...before, ...PodAddresses.fields, ...after })

const addressKeys = Struct.keys(PodAddresses.fields)

export const Allocation = Flat.pipe(Schema.decodeTo(
  Schema.toType(Schema.Struct({ ...before, addresses: PodAddresses, ...after })),
  SchemaTransformation.transform({
    decode: (flat) => ({ ...Struct.omit(flat, addressKeys), addresses: Struct.pick(flat, addressKeys) }),
    encode: ({ addresses, ...rest }) => ({ ...rest, ...addresses })
  })
))
export type Allocation = typeof Allocation.Type

/** Bytes of a link's alias: IFALIASZ less the end of the string (linux/if.h). */
const MAX_ALIAS = 255

/**
 * The link alias that names the owner: `namespace/pod containerID ifname`. Outside Kubernetes, and for a pod whose name
 * does not fit (it may have 253 bytes), `- containerID ifname`: DEL needs no more.
 */
export const aliasOf = (a: Pick<Allocation, "pod" | "containerId" | "ifName">): string => {
  const { containerId, ifName, pod } = a
  const full = `${pod.namespace}/${pod.name} ${containerId} ${ifName}`
  return pod.name === "" || Buffer.byteLength(full) > MAX_ALIAS ? `- ${containerId} ${ifName}` : full
}

/** Whether some agent has written the alias. */
export const namesOwner = (alias: string): boolean => {
  const owner = parseAlias(alias)
  return owner !== undefined && (owner.pod.name !== "" || alias.startsWith("- "))
}

/** The inverse of {@link aliasOf}, as far as it names the pod; undefined for text that is not ours. */
export const parseAlias = (alias: string): Pick<Allocation, "pod" | "containerId" | "ifName"> | undefined => {
  const [owner = "", containerId = "", ifName = "", ...more] = alias.split(" ")
  const [namespace = "", name = "", ...rest] = owner === "-" ? [] : owner.split("/")
  if (containerId === "" || ifName === "" || more.length + rest.length > 0) return undefined
  return { pod: { namespace, name, uid: "" }, containerId, ifName }
}
