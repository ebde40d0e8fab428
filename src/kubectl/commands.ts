/** `kubectl flock`: the fleet's nodes and addresses from one place. What the agents write into NodeConfigs is read; the rest is asked by exec. */
import { Clock, Console, Data, Effect, Option, Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { jsonFlag } from "../cli/flags.ts"
import { table } from "../cli/table.ts"
import { toJson } from "../cli/toJson.ts"
import { AddressFromString, formatAddress } from "../domain/Ip.ts"
import { oneLine } from "../domain/quote.ts"
import { record, records } from "../domain/record.ts"
import { askAll } from "./ask.ts"
import { drain, restore } from "./drainCommands.ts"
import { agentPods, jsonOnNode, type Kubectl, list } from "./kubectl.ts"
import { addressRows, anycastTable, type NodeRow, nodeRows, statusTable, templateLines } from "./nodes.ts"
import { agentOn, kubectlOf, NoAgent, nodeArgument, shared } from "./shared.ts"
import { candidates, nodeAnswer, whyLines } from "./why.ts"

/** Said already. */
export class NotWell extends Data.TaggedError("NotWell")<{ readonly silent: true }> {}

const watchFlag = Flag.Boolean("watch").pipe(
  Flag.withAlias("w"),
  Flag.withDescription("again every two seconds"),
  Flag.withDefault(false)
)

const rows = (kubectl: Kubectl) =>
  Effect.all([list(kubectl, ["nodeconfigs.flock.fritzlab.net"]), agentPods(kubectl)], { concurrency: 2 }).pipe(
    Effect.map(([nodeConfigs, agents]) => nodeRows(nodeConfigs, agents))
  )

const COLOURS: ReadonlyArray<readonly [pattern: RegExp, code: number]> = [
  [/\b(False|no NodeConfig|no agent|error|unknown)\b/, 31],
  [/\b(withdrawn|pending|installed|warning)\b/, 33]
]

/** Lines with trouble in them stand out, on a terminal. */
const coloured = (line: string): string => {
  if (!process.stdout.isTTY || process.env["NO_COLOR"] !== undefined) return line
  const code = COLOURS.find(([pattern]) => pattern.test(line))?.[1]
  return code === undefined ? line : `\x1b[${code}m${line}\x1b[0m`
}

const printTable = (cells: ReadonlyArray<ReadonlyArray<string>>) =>
  Console.log(table(cells).map((line, i) => i === 0 ? line : coloured(line)).join("\n"))

const CLEAR = "\x1b[H\x1b[2J"

/** Once, or every two seconds until it is interrupted. */
const watching = <E>(watch: boolean, show: Effect.Effect<void, E>): Effect.Effect<void, E> =>
  watch
    ? Effect.sync(() => process.stdout.isTTY && process.stdout.write(CLEAR)).pipe(
      Effect.andThen(show),
      Effect.andThen(Effect.sleep("2 seconds")),
      Effect.forever
    )
    : show

/** A command that shows the nodes in one way or another, once or again and again. */
const nodesCommand = <Name extends string, A>(name: Name, options: {
  readonly description: string
  /** What is printed, and with `--json` as it is. */
  readonly pick: (rows: ReadonlyArray<NodeRow>) => ReadonlyArray<A>
  readonly none: string
  readonly cells: (picked: ReadonlyArray<A>, now: number) => ReadonlyArray<ReadonlyArray<string>>
  /** Below the table. */
  readonly notes?: (kubectl: Kubectl) => Effect.Effect<ReadonlyArray<string>>
}) =>
  Command.make(
    name,
    { ...shared, json: jsonFlag, watch: watchFlag },
    ({ json, watch, ...flags }) =>
      watching(
        watch,
        Effect.gen(function*() {
          const kubectl = kubectlOf(flags)
          const [all, notes] = yield* Effect.all([
            rows(kubectl),
            json || options.notes === undefined ? Effect.succeed([]) : options.notes(kubectl)
          ], { concurrency: 2 })
          const picked = options.pick(all)
          if (json) return yield* Console.log(toJson(picked))
          if (picked.length === 0) return yield* Console.log(options.none)
          yield* printTable(options.cells(picked, yield* Clock.currentTimeMillis))
          const cut = all.filter(({ truncated }) => truncated).map(({ node }) => node)
          if (cut.length > 0) {
            yield* Console.log(`\nmore than a hundred addresses, of which the first are counted: ${cut.join(", ")}`)
          }
          if (all.every(({ version }) => version === "")) {
            yield* Console.log(
              `\nno agent's pod in namespace ${kubectl.namespace}: is flock in another one (--namespace)?`
            )
          }
          if (notes.length > 0) yield* Console.log(["", ...notes.map(oneLine)].join("\n"))
        })
      )
  ).pipe(Command.withDescription(options.description))

const templateNotes = (kubectl: Kubectl) =>
  list(kubectl, ["nodeconfigtemplates.flock.fritzlab.net"]).pipe(
    Effect.map(templateLines),
    Effect.catch(({ message }) => Effect.succeed([`templates not read: ${message}`]))
  )

const status = nodesCommand("status", {
  description: "every node: ready, sessions, addresses, template, version; and what halts a template",
  pick: (all) => all,
  none: "no NodeConfigs, and no agents",
  cells: statusTable,
  notes: templateNotes
})

const anycast = nodesCommand("anycast", {
  description: "every anycast and chosen address: which nodes have pods for it, and announce it",
  pick: addressRows,
  none: "no pod has an anycast or chosen address",
  cells: anycastTable
})

const why = Command.make(
  "why",
  {
    ...shared,
    address: Argument.String("address").pipe(
      Argument.withDescription("an IPv6 or IPv4 address"),
      Argument.withSchema(AddressFromString)
    ),
    json: jsonFlag
  },
  Effect.fn(function*({ address, json, ...flags }) {
    const kubectl = kubectlOf(flags)
    const text = formatAddress(address)
    const [all, agents] = yield* Effect.all([rows(kubectl), agentPods(kubectl)], { concurrency: 2 })
    const nodes = new Set(candidates(all, address))
    const answers = yield* askAll(
      agents.filter(({ node }) => nodes.has(node)),
      (pod) => jsonOnNode(kubectl, pod, ["why", text], [0, 1])
    )
    const silent = all.filter(({ node, version }) => nodes.has(node) && version === "").map(({ node }) => ({
      node,
      answer: Result.fail(new NoAgent({ node }))
    }))
    const found = [...answers, ...silent].map(nodeAnswer)
    yield* Console.log(json ? toJson(found) : whyLines(text, found).map(oneLine).join("\n"))
    if (!found.some(({ announced }) => announced)) return yield* new NotWell({ silent: true })
  })
).pipe(Command.withDescription("who announces an address, and what stops the others (exit code 1: nobody does)"))

/** In place of a check's name: the node's agent did not answer. */
const NOT_ASKED = "not-asked"

interface Found {
  readonly node: string
  readonly severity: string
  readonly check: string
  readonly problem: string
  readonly remedy: string
}

const findingsOf = (node: string, answer: unknown): ReadonlyArray<Found> =>
  records(record(answer)["findings"]).map((it) => ({
    node,
    severity: String(it["severity"]),
    check: String(it["check"]),
    problem: String(it["problem"]),
    remedy: String(it["remedy"] ?? "")
  }))

const doctor = Command.make(
  "doctor",
  { ...shared, node: nodeArgument.pipe(Argument.optional), json: jsonFlag },
  Effect.fn(function*({ json, node, ...flags }) {
    const kubectl = kubectlOf(flags)
    const agents = Option.isSome(node) ? [yield* agentOn(kubectl, node.value)] : yield* agentPods(kubectl)
    const answers = yield* askAll(agents, (pod) => jsonOnNode(kubectl, pod, ["doctor"], [0, 1]))
    const found = answers.flatMap(({ answer, node }): ReadonlyArray<Found> =>
      Result.isSuccess(answer)
        ? findingsOf(node, answer.success)
        : [{ node, severity: "error", check: NOT_ASKED, problem: answer.failure.message, remedy: "" }]
    )
    if (json) yield* Console.log(toJson(found))
    else if (found.length === 0) yield* Console.log(`${agents.length} nodes, and nothing found`)
    else {
      yield* printTable([
        ["NODE", "SEVERITY", "CHECK", "PROBLEM"],
        ...found.map(({ check, node, problem, severity }) => [node, severity, check, problem])
      ])
    }
    if (found.some(({ severity }) => severity === "error")) return yield* new NotWell({ silent: true })
  })
).pipe(Command.withDescription("what is wrong on each node, or on one (exit code 1: an error)"))

export const root = Command.make("kubectl-flock").pipe(
  Command.withDescription("flock's nodes and addresses, all at once"),
  Command.withSubcommands([status, anycast, why, drain, restore, doctor])
)
