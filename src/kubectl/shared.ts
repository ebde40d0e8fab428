/** What several commands take and ask: flags, kubectl as they say, a node and its agent. */
import { Config, Data, Effect, Option } from "effect"
import { Argument, Flag } from "effect/cli"
import { agentPods, type Kubectl, make } from "./kubectl.ts"

export class NoAgent extends Data.TaggedError("NoAgent")<{ readonly node: string }> {
  override get message(): string {
    return `no agent runs on ${this.node}: kubectl get pods -n flock-system -o wide; is the node labelled flock.fritzlab.net/agent?`
  }
}

export const shared = {
  namespace: Flag.String("namespace").pipe(
    Flag.withAlias("n"),
    Flag.withDescription("flock's own (default: flock-system)"),
    Flag.withFallbackConfig(Config.String("FLOCK_NAMESPACE")),
    Flag.withDefault("flock-system")
  ),
  context: Flag.String("context").pipe(Flag.withDescription("of the kubeconfig"), Flag.optional),
  kubeconfig: Flag.String("kubeconfig").pipe(Flag.withDescription("a file"), Flag.optional)
}

/** As the flags say. */
export const kubectlOf = (
  flags: {
    readonly namespace: string
    readonly context: Option.Option<string>
    readonly kubeconfig: Option.Option<string>
  }
): Kubectl =>
  make({
    namespace: flags.namespace,
    context: Option.getOrUndefined(flags.context),
    kubeconfig: Option.getOrUndefined(flags.kubeconfig)
  })

export const nodeArgument = Argument.String("node").pipe(Argument.withDescription("a node's name"))

/** The agent's pod there. */
export const agentOn = Effect.fnUntraced(function*(kubectl: Kubectl, node: string) {
  const pod = (yield* agentPods(kubectl)).find((it) => it.node === node)
  return pod ?? (yield* new NoAgent({ node }))
})
