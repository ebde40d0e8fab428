/**
 * `NodeConfig` (flock.fritzlab.net/v1alpha1), the one object an operator writes per node. {@link decode} is the only
 * way from YAML or JSON to {@link NodeConfig}; every problem it reports names the field, the value and what would be
 * right. `manifests/crd.yaml` says the same to the API server; a test holds the two against each other.
 */
import { Data, Effect, Result, Schema, SchemaIssue } from "effect"
import { addressProblem, overlapProblem } from "./addressRules.ts"
import { AddressFromString, type Cidr, CidrFromString, type Family, formatAddress, type IpAddress } from "./Ip.ts"
import { quote } from "./quote.ts"
import { record } from "./record.ts"

export const API_VERSION = "flock.fritzlab.net/v1alpha1"

const cidrOf = (family: Family, example: string, minimum: number, maximum: number) =>
  CidrFromString.pipe(Schema.check(Schema.makeFilter((cidr: Cidr) =>
    cidr.family !== family
      ? `must be an IPv${family} prefix, such as ${example}`
      : cidr.prefix < minimum || cidr.prefix > maximum
      ? `the prefix length must be ${minimum} to ${maximum}`
      : overlapProblem("pool", cidr) !== undefined
      ? `overlaps a range that is ${overlapProblem("pool", cidr)}; use unicast space of your own, such as ${example}`
      : undefined
  )))

const int = (minimum: number, maximum: number) =>
  Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum }, { message: `must be ${minimum} to ${maximum}` })))

const matching = (pattern: RegExp, message: string) =>
  Schema.String.pipe(Schema.check(Schema.isPattern(pattern, { message })))

/** Fields that `ip-algo` can embed in an IPv6 address, in the operator's order. */
export const AlgoField = Schema.Literals(["namespace", "pod", "image"])
export type AlgoField = typeof AlgoField.Type

const withDefault = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

const Asn = int(1, 4294967294)

const dns1123 = matching(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, "must be a Kubernetes object name")

export const SecretKeyRef = Schema.Struct({
  name: dns1123,
  key: matching(/^[-._a-zA-Z0-9]{1,253}$/, "must be a key of a Secret's data")
})
export type SecretKeyRef = typeof SecretKeyRef.Type

export const Peer = Schema.Struct({
  /** The router's address; not link-local. */
  address: AddressFromString,
  asn: Asn,
  port: withDefault(int(1, 65535), 179),
  /** Seconds; 0 turns keepalives off (RFC 4271 section 4.2). */
  holdTimeSeconds: withDefault(
    Schema.Int.pipe(
      Schema.check(
        Schema.makeFilter((n: number) => n === 0 || (n >= 3 && n <= 65535) ? undefined : "must be 0 or 3 to 65535")
      )
    ),
    90
  ),
  bfd: withDefault(Schema.Boolean, false),
  passwordSecretRef: Schema.optionalKey(SecretKeyRef),
  /** 0: the peer is on a connected network. Otherwise the largest number of hops to it. */
  multihop: withDefault(int(0, 255), 0),
  /** RFC 5082; not together with `multihop`. */
  ttlSecurity: withDefault(Schema.Boolean, false),
  gracefulRestart: withDefault(Schema.Boolean, true),
  /** Standard (`65001:100`, RFC 1997) or large (`65001:1:2`, RFC 8092), added to every announcement. */
  communities: withDefault(
    Schema.Array(
      matching(/^\d{1,5}:\d{1,5}$|^\d{1,10}:\d{1,10}:\d{1,10}$/, "must be a community: 65001:100 or large 65001:1:2")
    ),
    []
  )
})
export type Peer = typeof Peer.Type

export const Bgp = Schema.Struct({
  asn: Asn,
  routerID: Schema.optionalKey(matching(
    /^(?!0\.0\.0\.0$)((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/,
    "must be a router ID in dotted-quad form, such as 192.0.2.2"
  )),
  /** What may be learned from peers, with anything inside it. Empty: nothing. */
  importCIDRs: withDefault(Schema.Array(CidrFromString), []),
  peers: withDefault(Schema.Array(Peer), [])
})
export type Bgp = typeof Bgp.Type

export const NodeConfigSpec = Schema.Struct({
  cidr6: Schema.optionalKey(cidrOf(6, "2001:db8:1::/64", 16, 126)),
  cidr4: Schema.optionalKey(cidrOf(4, "10.42.1.0/24", 8, 30)),
  /** Bytes; default: the MTU of the interface that the peers are reached through. */
  mtu: Schema.optionalKey(int(1280, 65535)),
  defaults: withDefault(
    Schema.Struct({
      ipv6: withDefault(Schema.Boolean, true),
      ipv4: withDefault(Schema.Boolean, true),
      ipAlgo: Schema.optionalKey(
        Schema.Array(AlgoField).pipe(
          Schema.check(
            Schema.makeFilter((fields: ReadonlyArray<AlgoField>) =>
              fields.length === 0 || new Set(fields).size !== fields.length
                ? "must list each of namespace, pod, image at most once, and one at least"
                : undefined
            )
          )
        )
      )
    }),
    {}
  ),
  anycast: withDefault(
    Schema.Struct({ allowedCIDRs: withDefault(Schema.Array(CidrFromString), []) }),
    {}
  ),
  bgp: Schema.optionalKey(Bgp)
})
export type NodeConfigSpec = typeof NodeConfigSpec.Type

export interface NodeConfig {
  readonly name: string
  /** `metadata.generation`, 0 where there is none (standalone). */
  readonly generation: number
  readonly uid: string
  readonly spec: NodeConfigSpec
}

/** One thing wrong with a NodeConfig; `field` is its path, such as `spec.bgp.peers[0].address`. */
export interface Problem {
  readonly field: string
  readonly message: string
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

const pathOf = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string =>
  path.map((segment) => typeof segment === "object" ? segment.key : segment)
    .map((key) =>
      typeof key === "number" ? `[${key}]` : /^[-\w]{1,63}$/.test(String(key)) ? `.${String(key)}` : `[${quote(key)}]`
    ).join("")

/** Schema's own words, said as what would be right. */
const PLAIN: ReadonlyArray<readonly [RegExp, string]> = [
  [/^(Expected no excess property|Unexpected key)/, "unknown field: remove it or correct its name"],
  [/^Missing key$/, "is required"],
  [/^Expected string$/, "must be a string"],
  [/^Expected number$/, "must be a number, without quotes"],
  [/^Expected an integer$/, "must be a whole number"],
  [/^Expected boolean$/, "must be true or false, without quotes"],
  [/^Expected array$/, "must be a list"],
  [/^Expected object$/, "must be a mapping of fields"],
  [/^Expected "namespace"/, "must be one of namespace, pod, image"]
]

const plain = (message: string): string => PLAIN.find(([pattern]) => pattern.test(message))?.[1] ?? message

const at = (value: unknown, path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): unknown =>
  path.reduce<unknown>((inner, segment) =>
    typeof inner === "object" && inner !== null
      ? (inner as Record<PropertyKey, unknown>)[typeof segment === "object" ? segment.key : segment]
      : undefined, value)

const format = SchemaIssue.makeFormatterStandardSchemaV1()

const decodeSpec = Schema.decodeUnknownResult(NodeConfigSpec, { onExcessProperty: "error", errors: "all" })

const peerAddressProblem = (address: IpAddress): string | undefined => {
  const special = addressProblem("peer", address)
  return special && `is ${special}; write the router's own global address, such as 2001:db8:ffff::1`
}

/** What no field can say alone. */
const crossProblems = (spec: NodeConfigSpec): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  if (spec.cidr6 === undefined && spec.cidr4 === undefined) {
    problems.push({ field: "spec", message: "needs cidr6, cidr4 or both: without one no pod can have an address" })
  }
  const peers = spec.bgp?.peers ?? []
  peers.forEach((peer, i) => {
    const field = `spec.bgp.peers[${i}]`
    const text = formatAddress(peer.address)
    if (peers.findIndex((p) => formatAddress(p.address) === text) < i) {
      problems.push({ field: `${field}.address`, message: `"${text}": two peers have this address` })
    }
    const addressProblem = peerAddressProblem(peer.address)
    if (addressProblem !== undefined) {
      problems.push({ field: `${field}.address`, message: `"${text}": ${addressProblem}` })
    }
    if (peer.multihop > 0 && peer.ttlSecurity) {
      problems.push({ field: `${field}.ttlSecurity`, message: "true: cannot go together with multihop (RFC 5082)" })
    }
    for (const community of peer.communities) {
      const parts = community.split(":").map(Number)
      const maximum = parts.length === 2 ? 65535 : 4294967295
      if (parts.some((n) => n > maximum)) {
        problems.push({ field: `${field}.communities`, message: `"${community}": each number must be 0 to ${maximum}` })
      }
    }
  })
  return problems
}

/** From an API object or parsed YAML. `name` is the node's: a NodeConfig of another name is refused. */
export const decode = (name: string, input: unknown): Result.Result<NodeConfig, NodeConfigInvalid> => {
  const object = record(input)
  const metadata = record(object["metadata"])
  const generation = typeof metadata["generation"] === "number" ? metadata["generation"] : 0
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
    onFailure: (error) =>
      fail([
        ...heads,
        ...format(error.issue).issues.map(({ message, path = [] }) => {
          const value = at(object["spec"], path)
          const text = plain(message)
          const valued = value === undefined || text.startsWith(quote(value)) ? text : `${quote(value)}: ${text}`
          return { field: `spec${pathOf(path)}`, message: valued }
        })
      ]),
    onSuccess: (spec) => {
      const problems = [...heads, ...crossProblems(spec)]
      return problems.length > 0
        ? fail(problems)
        : Result.succeed({ name, generation, uid: String(metadata["uid"] ?? ""), spec })
    }
  })
}

const encodeSpec = Schema.encodeSync(NodeConfigSpec)

/** Whether two NodeConfigs ask for the same, whatever their metadata. */
export const sameSpec = (a: NodeConfig, b: NodeConfig): boolean =>
  JSON.stringify(encodeSpec(a.spec)) === JSON.stringify(encodeSpec(b.spec))
