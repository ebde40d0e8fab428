/**
 * kubectl as a child: its contexts, credentials and plugins are the operator's own, and what it may not do it says. One
 * process a question; nobody waits for a tool that asks fifty nodes one after another.
 */
import { Data, Effect } from "effect"
import { execFile } from "node:child_process"
import { oneLine } from "../domain/quote.ts"
import { record, records } from "../domain/record.ts"

/** A list of 5,000 NodeConfigs with their status is some 20 MB. */
const MAX_BYTES = 256 << 20

export class KubectlFailed extends Data.TaggedError("KubectlFailed")<{
  readonly args: ReadonlyArray<string>
  readonly detail: string
}> {
  override get message(): string {
    return `kubectl ${this.args.join(" ")}: ${oneLine(this.detail)}`
  }
}

export interface Kubectl {
  /** Its output; exit codes of `accept` are no failure (default: only 0 is none). */
  readonly text: (
    args: ReadonlyArray<string>,
    accept?: ReadonlyArray<number>
  ) => Effect.Effect<string, KubectlFailed>
  readonly namespace: string
}

export interface KubectlOptions {
  readonly namespace: string
  readonly context?: string | undefined
  readonly kubeconfig?: string | undefined
}

export const make = ({ context, kubeconfig, namespace }: KubectlOptions): Kubectl => {
  const global = [
    ...(context === undefined ? [] : ["--context", context]),
    ...(kubeconfig === undefined ? [] : ["--kubeconfig", kubeconfig])
  ]
  return {
    namespace,
    text: (args, accept = [0]) =>
      Effect.callback((resume, signal) => {
        execFile("kubectl", [...global, ...args], { maxBuffer: MAX_BYTES, signal }, (error, stdout, stderr) => {
          if (error === null || accept.includes(Number(error.code))) return resume(Effect.succeed(stdout))
          const detail = error.code === "ENOENT" ? "there is no kubectl in PATH" : stderr.trim() || error.message
          resume(Effect.fail(new KubectlFailed({ args, detail })))
        })
      })
  }
}

const parsed = (args: ReadonlyArray<string>, text: string): Effect.Effect<unknown, KubectlFailed> =>
  Effect.try({
    try: () => JSON.parse(text) as unknown,
    catch: () => new KubectlFailed({ args, detail: `no JSON: ${text.slice(0, 200)}` })
  })

/** The objects of a list. */
export const list = (
  kubectl: Kubectl,
  args: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, KubectlFailed> => {
  const all = ["get", ...args, "-o", "json"]
  return Effect.flatMap(kubectl.text(all), (text) => parsed(all, text)).pipe(
    Effect.map((object) => records(record(object)["items"]))
  )
}

/** An agent's pod. */
export interface AgentPod {
  readonly node: string
  readonly name: string
  /** Tag of the agent's image. */
  readonly version: string
}

/** Of every node, by the node's name. */
export const agentPods = (kubectl: Kubectl): Effect.Effect<ReadonlyArray<AgentPod>, KubectlFailed> =>
  Effect.map(
    list(kubectl, ["pods", "-n", kubectl.namespace, "-l", "app.kubernetes.io/component=agent"]),
    (pods) =>
      pods.flatMap(({ metadata, spec }): ReadonlyArray<AgentPod> => {
        const { deletionTimestamp, name } = record(metadata)
        const { containers, nodeName } = record(spec)
        if (deletionTimestamp !== undefined || typeof nodeName !== "string") return []
        const agent = records(containers).find((it) => it["name"] === "agent")
        const image = String(agent?.["image"] ?? "")
        return [{
          node: nodeName,
          name: String(name),
          version: /:([^:/]+)$/.exec(image.split("@")[0] ?? "")?.[1] ?? "?"
        }]
      }).toSorted((a, b) => a.node < b.node ? -1 : 1)
  )

/** Runs `flock-agent ARGS` on a node. */
export const onNode = (
  kubectl: Kubectl,
  pod: AgentPod,
  args: ReadonlyArray<string>,
  accept?: ReadonlyArray<number>
): Effect.Effect<string, KubectlFailed> =>
  kubectl.text(["exec", "-n", kubectl.namespace, pod.name, "-c", "agent", "--", "flock-agent", ...args], accept)

/** The same, for an answer in JSON. */
export const jsonOnNode = (
  kubectl: Kubectl,
  pod: AgentPod,
  args: ReadonlyArray<string>,
  accept?: ReadonlyArray<number>
): Effect.Effect<unknown, KubectlFailed> =>
  Effect.flatMap(onNode(kubectl, pod, [...args, "--json"], accept), (text) => parsed(args, text))
