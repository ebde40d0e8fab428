/**
 * What a Schema refused, for people: each problem with the path of its field, the value, and what would be right. No text
 * of Effect's own is used; checks and transformations say theirs in the annotation `message`. A value that may be a
 * password is not repeated, for logs and Events are read by more people than Secrets.
 */
import { SchemaIssue } from "effect"
import { quote } from "./quote.ts"

/** One thing that is wrong; `field` is its path, such as `spec.bgp.peers[0].address`. */
export interface Problem {
  readonly field: string
  readonly message: string
}

const NOT_VALID = "is not valid"
const UNKNOWN = "unknown field: remove it or correct its name"

const TYPE_WORDS: Readonly<Record<string, string>> = {
  String: "must be a string",
  Number: "must be a number, without quotes",
  Boolean: "must be true or false, without quotes",
  Arrays: "must be a list",
  Objects: "must be a mapping of fields"
}

const annotated = (annotations: { readonly message?: unknown } | undefined): string => {
  const message = annotations?.message
  return typeof message === "string" ? message : NOT_VALID
}

const leafHook: SchemaIssue.LeafHook = (issue) => {
  switch (issue._tag) {
    case "MissingKey":
      return "is required"
    case "UnexpectedKey":
      return UNKNOWN
    case "InvalidType":
      return TYPE_WORDS[issue.ast._tag] ?? annotated(issue.ast.annotations)
    case "InvalidValue":
      return annotated(issue.annotations)
    default:
      return NOT_VALID
  }
}

const checkHook: SchemaIssue.CheckHook = ({ filter, issue }) =>
  typeof filter.annotations?.["message"] === "string"
    ? filter.annotations["message"]
    : issue._tag === "InvalidValue"
    ? annotated(issue.annotations)
    : undefined

const format = SchemaIssue.makeFormatterStandardSchemaV1({ leafHook, checkHook })

type Path = ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>

const keysOf = (path: Path): ReadonlyArray<PropertyKey> =>
  path.map((segment) => typeof segment === "object" ? segment.key : segment)

const pathOf = (keys: ReadonlyArray<PropertyKey>): string =>
  keys.map((key) =>
    typeof key === "number" ? `[${key}]` : /^[-\w]{1,63}$/.test(String(key)) ? `.${String(key)}` : `[${quote(key)}]`
  ).join("")

const valueAt = (input: unknown, keys: ReadonlyArray<PropertyKey>): unknown =>
  keys.reduce<unknown>(
    (inner, key) =>
      typeof inner === "object" && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined,
    input
  )

/** An unknown field may be a `password`, a mapping may have one in it, and what is wrong in a reference may be the thing itself. */
const mayBeSecret = (keys: ReadonlyArray<PropertyKey>, value: unknown, message: string): boolean =>
  message === UNKNOWN || keys.includes("passwordSecretRef") ||
  (typeof value === "object" && value !== null && Object.keys(value).length > 0)

/** `input` is what was decoded, `root` its own path. */
export const problemsOf = (issue: SchemaIssue.Issue, input: unknown, root: string): ReadonlyArray<Problem> =>
  format(issue).issues.map(({ message, path = [] }) => {
    const keys = keysOf(path)
    const value = valueAt(input, keys)
    const alone = value === undefined || message.startsWith(quote(value)) || mayBeSecret(keys, value, message)
    return { field: `${root}${pathOf(keys)}`, message: alone ? message : `${quote(value)}: ${message}` }
  })
