/**
 * `NodeConfig` (flock.fritzlab.net/v1alpha1), the one object an operator writes per node. {@link decode} is the only
 * way from YAML or JSON to {@link NodeConfig}; every problem it reports names the field, the value and what would be
 * right. `manifests/crd.yaml` says the same to the API server; a test holds the two against each other.
 */
import { Data, Result, Schema } from "effect"
import { type Cidr, containsCidr, formatAddress, formatCidr, type IpAddress } from "./Ip.ts"
import { isInternal, NodeConfigSpec, type Peer } from "./NodeConfigSpec.ts"
import { linkOf, peerField, peerName, routedAddress } from "./peerAddress.ts"
import { quote } from "./quote.ts"
import { record } from "./record.ts"
import { type Problem, problemsOf } from "./schemaProblems.ts"

export {
  AlgoField,
  type AnycastSpec,
  type Bgp,
  type Grant,
  isInternal,
  NodeConfigSpec,
  type Peer,
  type PeerAsn,
  type SecretKeyRef
} from "./NodeConfigSpec.ts"
export type { Problem } from "./schemaProblems.ts"

export const API_VERSION = "flock.fritzlab.net/v1alpha1"

export interface NodeConfig {
  readonly name: string
  /** `metadata.generation`, 0 where there is none (standalone). */
  readonly generation: number
  readonly uid: string
  readonly spec: NodeConfigSpec
  /** Of one that was made from a NodeConfigTemplate. */
  readonly template?: TemplateOrigin
}

/** Where a NodeConfig came from, as its labels and annotations say (`domain/NodeConfigTemplate.ts`). */
export interface TemplateOrigin {
  readonly name: string
  /** Of the template. */
  readonly generation: number
  /** The template is gone, or fits this node no longer. */
  readonly orphaned: boolean
  /** It may still be taken back. */
  readonly onTrial: boolean
}

/** Of a NodeConfig: the template that it was made from. Without it the NodeConfig is somebody's own, and never touched. */
export const TEMPLATE_LABEL = "flock.fritzlab.net/template"
/** Of a NodeConfig whose template is gone or fits the node no longer: it stays as it is. */
export const ORPHANED_LABEL = "flock.fritzlab.net/orphaned"
/** Of a NodeConfig: `metadata.generation` of the template that it follows. */
export const GENERATION_ANNOTATION = "flock.fritzlab.net/template-generation"
/** Of a NodeConfig: of its spec as it was made from the template. */
export const HASH_ANNOTATION = "flock.fritzlab.net/template-hash"
/** Of a NodeConfig that is on trial: see `fleet/rollout.ts`. */
export const PROBATION_ANNOTATION = "flock.fritzlab.net/template-probation"

/** Undefined: it is somebody's own. */
export const originOf = (metadata: Readonly<Record<string, unknown>>): TemplateOrigin | undefined => {
  const [labels, annotations] = [record(metadata["labels"]), record(metadata["annotations"])]
  const name = labels[TEMPLATE_LABEL]
  if (typeof name !== "string") return undefined
  return {
    name,
    generation: Number(annotations[GENERATION_ANNOTATION] ?? 0),
    orphaned: ORPHANED_LABEL in labels,
    onTrial: PROBATION_ANNOTATION in annotations
  }
}

const MOST_SHOWN = 10

export class NodeConfigInvalid extends Data.TaggedError("NodeConfigInvalid")<{
  readonly name: string
  readonly generation: number
  readonly problems: ReadonlyArray<Problem>
}> {
  override get message(): string {
    const shown = this.problems.slice(0, MOST_SHOWN).map((p) => `${p.field}: ${p.message}`).join("; ")
    const more = this.problems.length - MOST_SHOWN
    return `NodeConfig ${this.name} is not valid: ${shown}${more > 0 ? `; and ${more} more problems` : ""}`
  }
}

const decodeSpec = Schema.decodeUnknownResult(NodeConfigSpec, { onExcessProperty: "error", errors: "all" })

const poolIn = (cidr: Cidr, { cidr4, cidr6 }: NodeConfigSpec): Cidr | undefined =>
  [cidr6, cidr4].find((pool) => pool !== undefined && containsCidr(cidr, pool))

const grantProblems = (spec: NodeConfigSpec): ReadonlyArray<Problem> =>
  spec.anycast.grants.flatMap(({ cidr }, i) => {
    const pool = poolIn(cidr, spec)
    return pool === undefined ? [] : [{
      field: `spec.anycast.grants[${i}].cidr`,
      message: `"${formatCidr(cidr)}": has the node's own ${formatCidr(pool)} in it, where other pods' addresses ` +
        "come from; write the prefixes beside it"
    }]
  })

const advertiseProblems = ({ bgp, cidr4, cidr6 }: NodeConfigSpec): ReadonlyArray<Problem> => {
  const all = (bgp?.advertise ?? []).map(formatCidr)
  const own = [cidr6, cidr4].flatMap((cidr) => cidr === undefined ? [] : [formatCidr(cidr)])
  return all.flatMap((text, i) => {
    const field = `spec.bgp.advertise[${i}]`
    return all.indexOf(text) < i
      ? [{ field, message: `"${text}": is listed twice` }]
      : own.includes(text)
      ? [{ field, message: `"${text}": is the node's own prefix, which is announced anyway; remove it here` }]
      : []
  })
}

/** What is taken as it is written, although it can hardly be meant: in force, and said. */
export const specWarnings = (spec: NodeConfigSpec): ReadonlyArray<string> =>
  spec.anycast.allowedCIDRs.flatMap((cidr, i) => {
    const pool = poolIn(cidr, spec)
    if (cidr.prefix > 0 && pool === undefined) return []
    const what = cidr.prefix === 0
      ? "lets every namespace draw any address of the network to itself"
      : `has the node's own ${formatCidr(pool as Cidr)} in it, where pods' addresses come from`
    return [
      `spec.anycast.allowedCIDRs[${i}]: "${formatCidr(cidr)}": ${what}; write the prefixes that are meant, ` +
      "or spec.anycast.grants"
    ]
  }).slice(0, MOST_SHOWN)

const localProblems = (
  peer: Peer,
  local: IpAddress,
  problem: (of: string, message: string) => Problem
): ReadonlyArray<Problem> => {
  const text = formatAddress(local)
  const remote = routedAddress(peer)
  if (remote === undefined) {
    return [problem("localAddress", `"${text}": must not be set for a router on an interface's own link`)]
  }
  return local.family === remote.family
    ? []
    : [problem("localAddress", `"${text}": must be of the same family as the router's address`)]
}

const placeProblems = (peer: Peer, before: ReadonlyArray<Peer>, field: string): ReadonlyArray<Problem> => {
  if ((peer.address === undefined) === (peer.interface === undefined)) {
    return [{ field, message: "needs address or interface, and not both" }]
  }
  const name = peerName(peer)
  const of = peerField(peer)
  const problem = (of: string, message: string): Problem => ({ field: `${field}.${of}`, message })
  const link = linkOf(peer)
  return [
    ...(before.some((other) => peerName(other) === name)
      ? [problem(of, `"${name}": two peers have this ${of}`)]
      : []),
    ...(link !== undefined && before.some((other) => linkOf(other) === link && peerField(other) !== of)
      ? [problem(of, `"${name}": must be the only peer on ${link}, unless each is written as an address`)]
      : []),
    ...(peer.localAddress === undefined ? [] : localProblems(peer, peer.localAddress, problem)),
    ...(link !== undefined && peer.multihop > 0
      ? [problem("multihop", `${peer.multihop}: must be 0 for a router on an interface's own link`)]
      : [])
  ]
}

/** What no field can say alone. */
const crossProblems = (spec: NodeConfigSpec): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  if (spec.cidr6 === undefined && spec.cidr4 === undefined) {
    problems.push({ field: "spec", message: "needs cidr6, cidr4 or both: without one no pod can have an address" })
  }
  problems.push(...grantProblems(spec), ...advertiseProblems(spec))
  const peers = spec.bgp?.peers ?? []
  peers.forEach((peer, i) => {
    const field = `spec.bgp.peers[${i}]`
    problems.push(...placeProblems(peer, peers.slice(0, i), field))
    if (peer.multihop > 0 && peer.ttlSecurity) {
      problems.push({
        field: `${field}.ttlSecurity`,
        message: "true: must be false where multihop is not 0 (RFC 5082)"
      })
    }
    if (peer.localRole !== undefined && isInternal(peer.asn, spec.bgp?.asn)) {
      problems.push({
        field: `${field}.localRole`,
        message: `"${peer.localRole}": must not be set where the router has the node's own AS number (RFC 9234)`
      })
    }
    if (peer.roleStrictMode && peer.localRole === undefined) {
      problems.push({ field: `${field}.roleStrictMode`, message: "true: needs a localRole (RFC 9234)" })
    }
  })
  return problems
}

/** From an API object or parsed YAML. `name` is the node's: a NodeConfig of another name is refused. */
export const decode = (name: string, input: unknown): Result.Result<NodeConfig, NodeConfigInvalid> => {
  const object = record(input)
  const metadata = record(object["metadata"])
  const generation = typeof metadata["generation"] === "number" ? metadata["generation"] : 0
  const template = originOf(metadata)
  const fail = (problems: ReadonlyArray<Problem>) => Result.fail(new NodeConfigInvalid({ name, generation, problems }))
  const heads: Array<Problem> = []
  if (object["apiVersion"] !== API_VERSION) {
    heads.push({ field: "apiVersion", message: `${quote(object["apiVersion"])}: must be ${API_VERSION}` })
  }
  if (object["kind"] !== "NodeConfig") {
    heads.push({ field: "kind", message: `${quote(object["kind"])}: must be NodeConfig` })
  }
  if (metadata["name"] !== name) {
    heads.push({ field: "metadata.name", message: `${quote(metadata["name"])}: must be this node's name, ${name}` })
  }
  return Result.match(decodeSpec(object["spec"] ?? {}), {
    onFailure: (error) => fail([...heads, ...problemsOf(error.issue, object["spec"], "spec")]),
    onSuccess: (spec) => {
      const problems = [...heads, ...crossProblems(spec)]
      return problems.length > 0
        ? fail(problems)
        : Result.succeed({
          name,
          generation,
          uid: String(metadata["uid"] ?? ""),
          spec,
          ...(template === undefined ? {} : { template })
        })
    }
  })
}

const encodeSpec = Schema.encodeSync(NodeConfigSpec)

/** Whether two NodeConfigs ask for the same, whatever their metadata. */
export const sameSpec = (a: NodeConfig, b: NodeConfig): boolean =>
  JSON.stringify(encodeSpec(a.spec)) === JSON.stringify(encodeSpec(b.spec))
