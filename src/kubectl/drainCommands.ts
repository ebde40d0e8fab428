/** `kubectl flock drain NODE` and `restore NODE`: a node leaves the network and comes back, and is waited for. */
import { Console, Data, Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { record } from "../domain/record.ts"
import { isQuiet, packetsIn, sessionsIn } from "./drain.ts"
import { type AgentPod, jsonOnNode, type Kubectl, list, onNode } from "./kubectl.ts"
import { agentOn, kubectlOf, nodeArgument, shared } from "./shared.ts"

export class SessionsStayDown extends Data.TaggedError("SessionsStayDown")<{
  readonly node: string
  readonly sessions: string
  readonly seconds: number
}> {
  override get message(): string {
    return `${this.node} is restored, and ${this.seconds} s later ${this.sessions} sessions are Established: kubectl flock doctor ${this.node}`
  }
}

export class TrafficStays
  extends Data.TaggedError("TrafficStays")<{ readonly node: string; readonly seconds: number }>
{
  override get message(): string {
    return `${this.node} is withdrawn, and traffic to its pods went on for ${this.seconds} s: from pods of the node itself, or by a router that ` +
      "still has a route. Look at the router's table"
  }
}

/** Looks once a second until the node forwards nothing more. */
const waitForQuiet = Effect.fnUntraced(function*(kubectl: Kubectl, pod: AgentPod, seconds: number) {
  const seen: Array<number> = []
  for (let i = 0; i < seconds; i++) {
    seen.push(packetsIn(yield* jsonOnNode(kubectl, pod, ["traffic"])))
    if (isQuiet(seen)) return
    yield* Effect.sleep("1 second")
  }
  return yield* new TrafficStays({ node: pod.node, seconds })
})

/** Looks once a second until all sessions are Established; gives them in words. */
const waitForSessions = Effect.fnUntraced(function*(kubectl: Kubectl, pod: AgentPod, seconds: number) {
  for (let i = 0;; i++) {
    const { all, established } = sessionsIn(yield* jsonOnNode(kubectl, pod, ["status"]))
    const sessions = `${established} of ${all}`
    if (established === all) return sessions
    if (i >= seconds) return yield* new SessionsStayDown({ node: pod.node, sessions, seconds })
    yield* Effect.sleep("1 second")
  }
})

const waitFlag = (what: string) =>
  Flag.Int("wait").pipe(
    Flag.withDescription(`seconds to wait ${what} (default: 60); 0: do not wait`),
    Flag.withDefault(60)
  )

export const drain = Command.make(
  "drain",
  {
    ...shared,
    node: nodeArgument,
    cordon: Flag.Boolean("cordon").pipe(
      Flag.withDescription("no new pods either (kubectl cordon)"),
      Flag.withDefault(false)
    ),
    wait: waitFlag("for traffic to go")
  },
  Effect.fn(function*({ cordon, node, wait, ...flags }) {
    const kubectl = kubectlOf(flags)
    const pod = yield* agentOn(kubectl, node)
    if (cordon) yield* Console.log((yield* kubectl.text(["cordon", node])).trim())
    yield* Console.log((yield* onNode(kubectl, pod, ["withdraw"])).trim())
    if (wait <= 0) return
    yield* waitForQuiet(kubectl, pod, wait)
    yield* Console.log(`${node}: no traffic to its pods any more`)
  })
).pipe(Command.withDescription("take a node's announcements back, and wait until traffic has gone elsewhere"))

export const restore = Command.make(
  "restore",
  { ...shared, node: nodeArgument, wait: waitFlag("for sessions to come back") },
  Effect.fn(function*({ node, wait, ...flags }) {
    const kubectl = kubectlOf(flags)
    const pod = yield* agentOn(kubectl, node)
    yield* Console.log((yield* onNode(kubectl, pod, ["restore"])).trim())
    if (wait > 0) yield* Console.log(`${node}: ${yield* waitForSessions(kubectl, pod, wait)} sessions Established`)
    const nodes = yield* list(kubectl, ["nodes", "--field-selector", `metadata.name=${node}`])
    if (record(nodes[0]?.["spec"])["unschedulable"] === true) {
      yield* Console.log((yield* kubectl.text(["uncordon", node])).trim())
    }
  })
).pipe(Command.withDescription("take `drain` back: announcements, and cordon"))
