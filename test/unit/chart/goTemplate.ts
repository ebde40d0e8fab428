/**
 * As much of Go's text/template and Helm's functions as charts/flock uses; anything else throws. A stand-in where there is no
 * helm (neither Debian nor npm has one): chart.test.ts compares the two where helm is in PATH.
 */
import { stringify } from "yaml"

type Value = unknown
interface Scope {
  readonly dot: Value
  readonly root: Value
  readonly variables: Readonly<Record<string, Value>>
}

type Node =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Print"; readonly expression: string }
  | { readonly _tag: "Block"; readonly head: string; readonly body: ReadonlyArray<Node> }

/** `{{- ` and ` -}}` take the white space beside them away. */
const tokens = (source: string): ReadonlyArray<{ readonly text?: string; readonly action?: string }> => {
  const parts = source.split(/(\{\{(?:(?!\}\})[\s\S])*\}\})/)
  return parts.map((part, i) => {
    if (i % 2 === 1) return { action: part.replace(/^\{\{(-\s)?\s*|\s*(\s-)?\}\}$/g, "") }
    const before = i > 0 && parts[i - 1]?.endsWith("-}}") ? part.trimStart() : part
    return { text: parts[i + 1]?.startsWith("{{-") ? before.trimEnd() : before }
  })
}

const parse = (source: string): ReadonlyArray<Node> => {
  const stack: Array<{ readonly head: string; readonly body: Array<Node> }> = [{ head: "", body: [] }]
  for (const { action, text } of tokens(source)) {
    const top = stack.at(-1)
    if (top === undefined) throw new Error("one end too many")
    if (text !== undefined) top.body.push({ _tag: "Text", text })
    else if (action?.startsWith("/*")) continue
    else if (action === "end") {
      stack.pop()
      stack.at(-1)?.body.push({ _tag: "Block", ...top })
    } else if (/^(if|with|range) /.test(action ?? "")) stack.push({ head: action ?? "", body: [] })
    else top.body.push({ _tag: "Print", expression: action ?? "" })
  }
  if (stack.length !== 1) throw new Error("an end is missing")
  return stack[0]?.body ?? []
}

const field = (value: Value, path: string): Value =>
  path.split(".").filter((key) => key !== "").reduce<Value>(
    (inner, key) => typeof inner === "object" && inner !== null ? (inner as Record<string, Value>)[key] : undefined,
    value
  )

const isEmpty = (value: Value): boolean =>
  value === undefined || value === null || value === "" || value === false || value === 0 ||
  (typeof value === "object" && Object.keys(value).length === 0)

const FUNCTIONS: Readonly<Record<string, (...args: ReadonlyArray<Value>) => Value>> = {
  toYaml: (value) => stringify(value, { lineWidth: 0 }).trimEnd(),
  toJson: (value) => JSON.stringify(value),
  quote: (value) => JSON.stringify(String(value)),
  nindent: (count, text) => `\n${String(text).replace(/^(?=.)/gm, " ".repeat(Number(count)))}`,
  default: (other, value) => isEmpty(value) ? other : value,
  ternary: (yes, no, test) => test === true ? yes : no,
  replace: (from, to, text) => String(text).replaceAll(String(from), String(to))
}

const words = (text: string): ReadonlyArray<string> => text.match(/"(?:[^"\\]|\\.)*"|[^\s"]+/g) ?? []

const evaluate = (expression: string, scope: Scope, files: (name: string) => string): Value => {
  const atom = (word: string): Value => {
    if (word.startsWith("\"")) return JSON.parse(word)
    if (/^\d+$/.test(word)) return Number(word)
    if (word.startsWith("$.")) return field(scope.root, word.slice(1))
    if (word.startsWith("$")) return scope.variables[word.slice(1)]
    if (word === ".") return scope.dot
    if (word.startsWith(".")) return field(scope.dot, word)
    throw new Error(`not understood: ${word} in ${expression}`)
  }
  return expression.split(" | ").reduce<Value>((piped, stage, i) => {
    const [head = "", ...rest] = words(stage)
    const args = [...rest.map(atom), ...(i === 0 ? [] : [piped])]
    if (head === ".Files.Get") return files(String(args[0]))
    const known = FUNCTIONS[head]
    if (known !== undefined) return known(...args)
    if (rest.length > 0) throw new Error(`not understood: ${stage}`)
    return atom(head)
  }, undefined)
}

const print = (value: Value): string => value === undefined || value === null ? "" : String(value)

/** `data`: `Values`, `Release`, `Chart`; `files`: the text of a file of the chart. */
export const render = (
  source: string,
  data: Readonly<Record<string, Value>>,
  files: (name: string) => string
): string => {
  const all = (nodes: ReadonlyArray<Node>, scope: Scope): string => nodes.map((node) => one(node, scope)).join("")
  const one = (node: Node, scope: Scope): string => {
    if (node._tag === "Text") return node.text
    if (node._tag === "Print") return print(evaluate(node.expression, scope, files))
    const [, keyword, rest = ""] = /^(\w+) (.*)$/.exec(node.head) ?? []
    if (keyword === "range") {
      const [, key = "", value = "", of = ""] = /^\$(\w+), \$(\w+) := (.*)$/.exec(rest) ?? []
      const map = evaluate(of, scope, files)
      // Go ranges over a map in the order of its keys.
      return Object.entries(map ?? {}).toSorted(([a], [b]) => a < b ? -1 : 1).map(([name, item]) =>
        all(node.body, { ...scope, dot: item, variables: { ...scope.variables, [key]: name, [value]: item } })
      ).join("")
    }
    const value = evaluate(rest, scope, files)
    if (isEmpty(value)) return ""
    return all(node.body, keyword === "with" ? { ...scope, dot: value } : scope)
  }
  return all(parse(source), { dot: data, root: data, variables: {} })
}
