/**
 * From a template and a node's facts to that node's NodeConfigSpec. Pure. In place of a value a template may have
 *
 * - `{ fromLabel: KEY }`, `{ fromAnnotation: KEY }`: of the Node; digits become a number where the field is one;
 * - `cidrs: podCIDRs`, for `cidr6` and `cidr4`: Node's `spec.podCIDRs`;
 * - a peer's `gateway: ipv6` or `ipv4`, for its `address`: the node's default gateway of that family.
 */
import { Result, type SchemaAST } from "effect"
import { createHash } from "node:crypto"
import { parseCidr } from "../domain/Ip.ts"
import { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { quote } from "../domain/quote.ts"
import { isRecord, record } from "../domain/record.ts"
import type { Problem } from "../domain/schemaProblems.ts"

export interface NodeFacts {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly podCIDRs: ReadonlyArray<string>
  /** Default gateways; a link-local one with its interface, such as `fe80::1%eth0`. */
  readonly gateways: { readonly ipv4?: string | undefined; readonly ipv6?: string | undefined }
}

/** Names of the fields of a schema that are, or may be, numbers. */
const numberFields = (ast: SchemaAST.AST, name = "", seen = new Set<SchemaAST.AST>()): ReadonlySet<string> => {
  if (seen.has(ast)) return new Set()
  seen.add(ast)
  const within = (inner: SchemaAST.AST, key = name) => numberFields(inner, key, seen)
  switch (ast._tag) {
    case "Number":
      return new Set([name])
    case "Objects":
      return new Set(ast.propertySignatures.flatMap(({ name, type }) => [...within(type, String(name))]))
    case "Arrays":
      return new Set([...ast.elements, ...ast.rest].flatMap((inner) => [...within(inner)]))
    case "Union":
      return new Set(ast.types.flatMap((inner) => [...within(inner)]))
    default:
      return new Set()
  }
}

/** Of a NodeConfigSpec. */
export const NUMBERS: ReadonlySet<string> = numberFields(NodeConfigSpec.ast)

const SOURCES = { fromLabel: ["labels", "label"], fromAnnotation: ["annotations", "annotation"] } as const

type Found = Result.Result<unknown, Problem>

const problem = (field: string, message: string): Result.Result<never, Problem> => Result.fail({ field, message })

/** `{ fromLabel: KEY }` alone is a reference; what has other fields beside it is an error, not a mapping. */
const reference = (value: Readonly<Record<string, unknown>>): keyof typeof SOURCES | undefined =>
  "fromLabel" in value ? "fromLabel" : "fromAnnotation" in value ? "fromAnnotation" : undefined

const resolveReference = (
  value: Readonly<Record<string, unknown>>,
  kind: keyof typeof SOURCES,
  field: string,
  name: string,
  node: NodeFacts
): Found => {
  const key = value[kind]
  if (Object.keys(value).length !== 1 || typeof key !== "string") {
    return problem(field, `must be { ${kind}: KEY } and nothing else`)
  }
  const [where, what] = SOURCES[kind]
  const text = Object.hasOwn(node[where], key) ? node[where][key] : undefined
  if (text === undefined) return problem(field, `the Node has no ${what} ${quote(key)}`)
  return Result.succeed(NUMBERS.has(name) && /^\d{1,15}$/.test(text) ? Number(text) : text)
}

const podCidrs = (value: unknown, field: string, node: NodeFacts): Result.Result<Record<string, string>, Problem> => {
  if (value !== "podCIDRs") return problem(field, `${quote(value)}: must be podCIDRs`)
  const of = (family: 4 | 6) =>
    node.podCIDRs.find((text) => {
      const cidr = parseCidr(text)
      return !("problem" in cidr) && cidr.family === family
    })
  const [cidr6, cidr4] = [of(6), of(4)]
  return cidr6 === undefined && cidr4 === undefined
    ? problem(
      field,
      "the Node has no podCIDRs: does kube-controller-manager run with --allocate-node-cidrs=true and --cluster-cidr?"
    )
    : Result.succeed({ ...(cidr6 === undefined ? {} : { cidr6 }), ...(cidr4 === undefined ? {} : { cidr4 }) })
}

const gatewayOf = (value: unknown, field: string, node: NodeFacts): Result.Result<string, Problem> => {
  if (value !== "ipv6" && value !== "ipv4") return problem(field, `${quote(value)}: must be ipv6 or ipv4`)
  const address = node.gateways[value]
  return address === undefined
    ? problem(field, `the node has no default gateway of ${value === "ipv6" ? "IPv6" : "IPv4"}`)
    : Result.succeed(address)
}

interface Walk {
  readonly node: NodeFacts
  readonly problems: Array<Problem>
}

const keep = <A>(walk: Walk, found: Result.Result<A, Problem>): A | undefined =>
  Result.match(found, {
    onFailure: (it) => {
      walk.problems.push(it)
      return undefined
    },
    onSuccess: (value) => value
  })

const walkInto = (walk: Walk, value: unknown, field: string, name: string): unknown => {
  if (Array.isArray(value)) return value.map((item, i) => walkInto(walk, item, `${field}[${i}]`, name))
  if (!isRecord(value)) return value
  const kind = reference(value)
  if (kind !== undefined) return keep(walk, resolveReference(value, kind, field, name, walk.node))
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, walkInto(walk, inner, `${field}.${key}`, key)])
  )
}

const resolvePeers = (walk: Walk, bgp: Readonly<Record<string, unknown>>, field: string): unknown => {
  const peers = bgp["peers"]
  if (!Array.isArray(peers)) return bgp
  return {
    ...bgp,
    peers: peers.map((peer: unknown, i) => {
      if (!isRecord(peer) || !("gateway" in peer)) return peer
      const { gateway, ...rest } = peer
      const place = `${field}.peers[${i}].gateway`
      if ("address" in rest || "interface" in rest) {
        walk.problems.push({ field: place, message: "stands in place of address or interface, not beside it" })
        return rest
      }
      return { ...rest, address: keep(walk, gatewayOf(gateway, place, walk.node)) }
    })
  }
}

/** The spec, not yet checked as one; or all that could not be resolved, by the field of the template. */
export const resolve = (
  template: Readonly<Record<string, unknown>>,
  node: NodeFacts
): Result.Result<Readonly<Record<string, unknown>>, ReadonlyArray<Problem>> => {
  const walk: Walk = { node, problems: [] }
  const root = "spec.template"
  const { cidrs, ...rest } = record(walkInto(walk, template, root, ""))
  const prefixes = "cidrs" in template ? keep(walk, podCidrs(cidrs, `${root}.cidrs`, node)) ?? {} : {}
  if ("cidrs" in template && ("cidr4" in rest || "cidr6" in rest)) {
    walk.problems.push({ field: `${root}.cidrs`, message: "stands in place of cidr6 and cidr4, not beside them" })
  }
  const bgp = rest["bgp"]
  const spec = {
    ...prefixes,
    ...rest,
    ...(isRecord(bgp) ? { bgp: resolvePeers(walk, bgp, `${root}.bgp`) } : {})
  }
  return walk.problems.length > 0 ? Result.fail(walk.problems) : Result.succeed(spec)
}

/** JSON with sorted keys: the same for the same content, however a serializer ordered it. */
const canonical = (value: unknown): string =>
  Array.isArray(value)
    ? `[${value.map(canonical).join(",")}]`
    : isRecord(value)
    ? `{${Object.keys(value).toSorted().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`
    : JSON.stringify(value)

/** Of a spec's content, 16 hexadecimal digits. */
export const specHash = (spec: unknown): string =>
  createHash("sha256").update(canonical(spec)).digest("hex").slice(0, 16)
