/**
 * The pod's annotations, parsed. Their text is any tenant's: it is bounded before it is looked at, and quoted in errors.
 * An empty annotation counts as absent (templates leave such behind).
 */
import { Result } from "effect"
import { AddressError } from "./errors.ts"
import { type Cidr, type Family, type IpAddress, parseAddress, parseCidr } from "./Ip.ts"
import { AlgoField } from "./NodeConfig.ts"
import { ANNOTATION_PREFIX, MAX_ANNOTATION } from "./Pod.ts"
import { quote } from "./quote.ts"

export interface Annotations {
  /** In the pod's order; empty: anything of the node's CIDR. */
  readonly cidr6: ReadonlyArray<Cidr>
  readonly cidr4: ReadonlyArray<Cidr>
  readonly ipAlgo?: ReadonlyArray<AlgoField>
  readonly ipv6?: boolean
  readonly ipv4?: boolean
  /** Without duplicates. */
  readonly anycast: ReadonlyArray<IpAddress>
  /** Without duplicates, at most one per family. */
  readonly addresses: ReadonlyArray<IpAddress>
  /** Honoured only in namespaces that the NodeConfig lists, and for as long as it is there. */
  readonly allowSpoofing?: boolean
  readonly warnings: ReadonlyArray<string>
}

const NAMES = ["cidr6", "cidr4", "ip-algo", "ipv6", "ipv4", "anycast", "addresses", "allow-spoofing"] as const
export type AnnotationName = typeof NAMES[number]

const MOST_ITEMS = 64

type Parsed<A> = Result.Result<A, AddressError>

const invalid = (annotation: AnnotationName, problem: string): Parsed<never> =>
  Result.fail(new AddressError({ reason: "Invalid", annotation, message: `annotation ${annotation}: ${problem}` }))

const itemsOf = (name: AnnotationName, text: string): Parsed<ReadonlyArray<string>> => {
  if (text.length > MAX_ANNOTATION) {
    return invalid(name, `more than ${MAX_ANNOTATION} characters long, which are the limit`)
  }
  if (text.trim() === "") return Result.succeed([])
  const items = text.split(",").map((item) => item.trim())
  return items.length > MOST_ITEMS
    ? invalid(name, `lists ${items.length} items; ${MOST_ITEMS} are the limit`)
    : Result.succeed(items)
}

const parseItems = <A>(
  name: AnnotationName,
  text: string,
  parse: (item: string) => A | { readonly problem: string }
): Parsed<ReadonlyArray<A>> =>
  Result.flatMap(itemsOf(name, text), (items) => {
    const parsed: Array<A> = []
    for (const item of items) {
      const result = parse(item)
      if (typeof result === "object" && result !== null && "problem" in result) {
        return invalid(name, `${quote(item)}: ${result.problem}`)
      }
      parsed.push(result)
    }
    return Result.succeed(parsed)
  })

const cidrItem = (family: Family) => (item: string) => {
  const cidr = parseCidr(item)
  return "problem" in cidr || cidr.family === family
    ? cidr
    : { problem: `not an IPv${family} prefix, such as ${family === 6 ? "2001:db8:1::/64" : "10.42.1.0/24"}` }
}

const addressItem = (item: string): IpAddress | { readonly problem: string } =>
  parseAddress(item) ?? { problem: "not an IP address, such as 2001:db8::1 or 192.0.2.1" }

const unique = (addresses: ReadonlyArray<IpAddress>): ReadonlyArray<IpAddress> => [
  ...new Map(addresses.map((a) => [`${a.family} ${a.value}`, a])).values()
]

const onePerFamily = (addresses: ReadonlyArray<IpAddress>): Parsed<ReadonlyArray<IpAddress>> => {
  const twice = ([6, 4] as const).find((family) => addresses.filter((a) => a.family === family).length > 1)
  return twice === undefined
    ? Result.succeed(addresses)
    : invalid("addresses", `more than one IPv${twice} address; a pod has one of each family at most`)
}

const parseSwitch = (name: "ipv6" | "ipv4" | "allow-spoofing", text: string): Parsed<boolean | undefined> => {
  const value = text.trim()
  return value === "" || value === "true" || value === "false"
    ? Result.succeed(value === "" ? undefined : value === "true")
    : invalid(name, `${quote(text)}: must be "true" or "false"`)
}

const isAlgoField = (item: string): item is AlgoField => AlgoField.literals.some((field) => field === item)

const algoItem = (item: string): AlgoField | { readonly problem: string } =>
  isAlgoField(item) ? item : { problem: `must be one of ${AlgoField.literals.join(", ")}` }

const parseAlgo = (text: string): Parsed<ReadonlyArray<AlgoField>> =>
  Result.flatMap(parseItems("ip-algo", text, algoItem), (fields) =>
    new Set(fields).size === fields.length
      ? Result.succeed(fields)
      : invalid("ip-algo", `${quote(text)}: must list each field once only`))

const unknownWarning = (annotations: Readonly<Record<string, string>>): ReadonlyArray<string> => {
  const unknown = Object.keys(annotations).filter((key) => !NAMES.some((name) => name === key))
  return unknown.length === 0
    ? []
    : [
      `unknown annotation ${quote(ANNOTATION_PREFIX + unknown[0])}${
        unknown.length > 1 ? ` and ${unknown.length - 1} more` : ""
      } ignored; flock reads ${NAMES.join(", ")}`
    ]
}

/**
 * From `PodInfo.annotations`. Fails with `Invalid` on the first annotation that cannot be meant as written; a wrong
 * `ip-algo` only warns, for it is cosmetics.
 */
export const parseAnnotations = (annotations: Readonly<Record<string, string>>): Parsed<Annotations> =>
  Result.gen(function*() {
    const text = (name: AnnotationName) => Object.hasOwn(annotations, name) ? annotations[name] ?? "" : ""
    const cidr6 = yield* parseItems("cidr6", text("cidr6"), cidrItem(6))
    const cidr4 = yield* parseItems("cidr4", text("cidr4"), cidrItem(4))
    const ipv6 = yield* parseSwitch("ipv6", text("ipv6"))
    const ipv4 = yield* parseSwitch("ipv4", text("ipv4"))
    const allowSpoofing = yield* parseSwitch("allow-spoofing", text("allow-spoofing"))
    const anycast = unique(yield* parseItems<IpAddress>("anycast", text("anycast"), addressItem))
    const addresses = yield* onePerFamily(
      unique(yield* parseItems<IpAddress>("addresses", text("addresses"), addressItem))
    )
    const algo = parseAlgo(text("ip-algo"))
    return {
      cidr6,
      cidr4,
      anycast,
      addresses,
      ...(ipv6 === undefined ? {} : { ipv6 }),
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(allowSpoofing === undefined ? {} : { allowSpoofing }),
      ...(Result.isSuccess(algo) && algo.success.length > 0 ? { ipAlgo: algo.success } : {}),
      warnings: [
        ...(Result.isFailure(algo) ? [`${algo.failure.message}; ignored`] : []),
        ...unknownWarning(annotations)
      ]
    }
  })
