/**
 * What the API server does with an object and a structural schema, for as much of it as crd.yaml uses: defaulting, then
 * validation. test/kube/crd.test.ts holds it against the real server.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
 */
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { parse } from "yaml"

export interface Rule {
  readonly rule: string
  readonly message: string
  readonly fieldPath?: string
}

export interface Schema {
  readonly type?: "object" | "array" | "string" | "integer" | "boolean"
  readonly description?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: ReadonlyArray<string>
  readonly items?: Schema
  readonly default?: unknown
  readonly enum?: ReadonlyArray<unknown>
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly maxLength?: number
  readonly format?: string
  readonly "x-kubernetes-int-or-string"?: true
  readonly "x-kubernetes-list-type"?: "set" | "map"
  readonly "x-kubernetes-list-map-keys"?: ReadonlyArray<string>
  readonly "x-kubernetes-validations"?: ReadonlyArray<Rule>
}

/** What this file does not know would go unchecked; `pattern`, `not` and `anyOf` answer with a text that nobody can read. */
const KNOWN = new Set([
  "type",
  "description",
  "properties",
  "required",
  "items",
  "default",
  "enum",
  "minimum",
  "maximum",
  "minItems",
  "maxItems",
  "maxLength",
  "format",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-validations",
  "x-kubernetes-int-or-string"
])

export const crd = parse(readFileSync(resolve(import.meta.dirname, "../../../manifests/crd.yaml"), "utf8"))

export const spec: Schema = crd.spec.versions[0].schema.openAPIV3Schema.properties.spec

/** Each schema of the tree, with its path. */
export const walk = (schema: Schema, path: string, visit: (schema: Schema, path: string) => void): void => {
  visit(schema, path)
  for (const [key, inner] of Object.entries(schema.properties ?? {})) walk(inner, `${path}.${key}`, visit)
  if (schema.items) walk(schema.items, `${path}[]`, visit)
}

type Fields = Readonly<Record<string, unknown>>

const isFields = (u: unknown): u is Fields => typeof u === "object" && u !== null && !Array.isArray(u)

export const defaulted = (schema: Schema, value: unknown): unknown => {
  if (Array.isArray(value)) return schema.items ? value.map((item) => defaulted(schema.items ?? {}, item)) : value
  if (!isFields(value) || schema.properties === undefined) return value
  const out: Record<string, unknown> = { ...value }
  for (const [key, property] of Object.entries(schema.properties)) {
    const given = out[key] === undefined ? structuredClone(property.default) : out[key]
    if (given !== undefined) out[key] = defaulted(property, given)
  }
  return out
}

const typeOf = (value: unknown): string =>
  Array.isArray(value)
    ? "array"
    : isFields(value)
    ? "object"
    : typeof value === "number"
    ? Number.isInteger(value) ? "integer" : "number"
    : typeof value

const duplicates = (keys: ReadonlyArray<string>): boolean => new Set(keys).size < keys.length

const peersOf = (value: unknown): ReadonlyArray<Fields> => Array.isArray(value) ? value.filter(isFields) : []

const placeOf = ({ address, interface: ifName }: Fields): string => address === undefined ? `%${ifName}` : `${address}`

const isMultihop = ({ multihop }: Fields): boolean => typeof multihop === "number" && multihop > 0

/** The CEL rules that are no regular expression. */
const RULES: Readonly<Record<string, (value: Fields & number) => boolean>> = {
  "self.all(p, self.exists_one(q, has(p.address) ? has(q.address) && q.address == p.address : has(p.interface) && has(q.interface) && q.interface == p.interface))":
    (value) =>
      peersOf(value).every((p) => p["address"] !== undefined || p["interface"] !== undefined) &&
      !duplicates(peersOf(value).map(placeOf)),
  "self.all(p, !has(p.interface) || !self.exists(q, has(q.address) && q.address.endsWith('%' + p.interface)))": (
    value
  ) =>
    peersOf(value).every((p) =>
      p["interface"] === undefined || !peersOf(value).some((q) => `${q["address"]}`.endsWith(`%${p["interface"]}`))
    ),
  "has(self.address) != has(self.interface)": (value) =>
    (value["address"] === undefined) !== (value["interface"] === undefined),
  "!((has(self.interface) || has(self.address) && self.address.contains('%')) && has(self.multihop) && self.multihop > 0)":
    (value) => !((value["interface"] !== undefined || `${value["address"]}`.includes("%")) && isMultihop(value)),
  "!(has(self.localAddress) && (has(self.interface) || has(self.address) && self.address.contains('%')))": (value) =>
    value["localAddress"] === undefined || (value["interface"] === undefined && !`${value["address"]}`.includes("%")),
  "!has(self.localAddress) || !has(self.address) || self.address.contains('%') || self.localAddress.contains(':') == self.address.contains(':')":
    ({ address, localAddress }) =>
      localAddress === undefined || address === undefined || `${address}`.includes("%") ||
      `${localAddress}`.includes(":") === `${address}`.includes(":"),
  "type(self) == int ? self >= 1 && self <= 4294967294 : self == 'external' || self == 'internal'": (value) =>
    typeof value === "number" ? value >= 1 && value <= 4294967294 : ["external", "internal"].includes(value),
  "has(self.cidr6) || has(self.cidr4)": ({ cidr4, cidr6 }) => cidr6 !== undefined || cidr4 !== undefined,
  "self == 0 || self >= 3": (value) => value === 0 || value >= 3,
  "!(has(self.roleStrictMode) && self.roleStrictMode && !has(self.localRole))": ({ localRole, roleStrictMode }) =>
    !(roleStrictMode === true && localRole === undefined),
  "!has(self.peers) || self.peers.all(p, !has(p.localRole) || p.asn != self.asn && p.asn != 'internal')": (
    { asn, peers }
  ) =>
    !Array.isArray(peers) ||
    peers.every((p) => !isFields(p) || p["localRole"] === undefined || (p["asn"] !== asn && p["asn"] !== "internal")),
  "!(has(self.ttlSecurity) && self.ttlSecurity && has(self.multihop) && self.multihop > 0)": (
    { multihop, ttlSecurity }
  ) => !(ttlSecurity === true && typeof multihop === "number" && multihop > 0)
}

const holds = (rule: string, value: unknown): boolean => {
  const [, no, field = "", pattern, , excluded] =
    /^(!?)self(?:\.(\w+))?\.matches\(r'(.*?)'\)( && self != '(.*)')?$/.exec(rule) ?? []
  const text = field === "" || !isFields(value) ? value : value[field]
  if (pattern !== undefined) {
    return new RegExp(pattern, "u").test(String(text)) === (no === "") && text !== excluded
  }
  const other = RULES[rule]
  if (other === undefined) throw new Error(`this walker does not know the rule ${rule}`)
  return other(value as Fields & number)
}

/** Problems of a value that was defaulted, as `path: keyword`, or `path: message` of a rule. */
export const problems = (schema: Schema, value: unknown, path = "spec"): ReadonlyArray<string> => {
  for (const key of Object.keys(schema)) {
    if (!KNOWN.has(key)) throw new Error(`${path}: this walker does not know ${key}`)
  }
  if (schema.type !== undefined && typeOf(value) !== schema.type) return [`${path}: type`]
  if (schema["x-kubernetes-int-or-string"] && !["integer", "string"].includes(typeOf(value))) return [`${path}: type`]
  const out: Array<string> = []
  const check = (keyword: string, bad: boolean) => bad ? out.push(`${path}: ${keyword}`) : 0
  check("enum", schema.enum !== undefined && !schema.enum.includes(value))
  for (const { message, rule } of schema["x-kubernetes-validations"] ?? []) check(message, !holds(rule, value))
  if (typeof value === "string") {
    check("maxLength", schema.maxLength !== undefined && [...value].length > schema.maxLength)
  }
  if (typeof value === "number") {
    check("minimum", schema.minimum !== undefined && value < schema.minimum)
    check("maximum", schema.maximum !== undefined && value > schema.maximum)
  }
  if (Array.isArray(value)) {
    check("minItems", schema.minItems !== undefined && value.length < schema.minItems)
    check("maxItems", schema.maxItems !== undefined && value.length > schema.maxItems)
    const keys = schema["x-kubernetes-list-map-keys"]
    check("set", schema["x-kubernetes-list-type"] === "set" && duplicates(value.map((v) => JSON.stringify(v))))
    check(
      "map",
      keys !== undefined && duplicates(value.map((v) => JSON.stringify(keys.map((k) => isFields(v) && v[k]))))
    )
    value.forEach((item, i) => out.push(...problems(schema.items ?? {}, item, `${path}[${i}]`)))
  }
  if (isFields(value)) {
    for (const key of schema.required ?? []) check(`required ${key}`, value[key] === undefined)
    for (const [key, property] of Object.entries(schema.properties ?? {})) {
      if (value[key] !== undefined) out.push(...problems(property, value[key], `${path}.${key}`))
    }
  }
  return out
}

/** Whether the server would take a NodeConfig with this spec. */
export const refusals = (value: unknown): ReadonlyArray<string> => problems(spec, defaulted(spec, value))
