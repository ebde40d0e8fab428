/** `flock-agent doctor`: what stands in the way on this node. Works with and without a running agent. */
import { Console, Data, Effect, Layer } from "effect"
import { Command } from "effect/cli"
import type { Finding } from "../doctor/facts.ts"
import { judge } from "../doctor/judge.ts"
import { probe } from "../doctor/probe.ts"
import { oneLine } from "../domain/quote.ts"
import { Firewall } from "../firewall/Firewall.ts"
import * as NetlinkLayer from "../netlink/layer.ts"
import { jsonFlag, optional, socketFlag } from "./flags.ts"
import { toJson } from "./toJson.ts"

/** Exit code 1, after the findings were printed. */
export class NodeNotFit extends Data.TaggedError("NodeNotFit")<{ readonly errors: number }> {
  override get message(): string {
    return this.errors === 1 ? "one thing stands in the way" : `${this.errors} things stand in the way`
  }
}

/** Reading another process's namespace, and netlink as the agent uses it, take root. */
export class NotRoot extends Data.TaggedError("NotRoot") {
  override get message(): string {
    return "doctor needs root, in the node's network namespace"
  }
}

/** For people: each finding with what to do. */
export const renderFindings = (findings: ReadonlyArray<Finding>): string =>
  findings.length === 0
    ? "nothing found that stands in the way"
    : findings.flatMap(({ check, problem, remedy, severity }) => [
      `${severity.padEnd(7)}  ${check}: ${problem}`,
      `         → ${remedy}`
    ]).map(oneLine).join("\n")

export const doctor = Command.make(
  "doctor",
  {
    socket: socketFlag,
    json: jsonFlag,
    birdSocket: optional("bird-socket", "BIRD's control socket (default: the agent's, else /run/flock/bird/bird.ctl)"),
    binDir: optional("cni-bin-dir", "the runtime's folder of CNI plugins (default: the agent's, else /opt/cni/bin)"),
    confDir: optional(
      "cni-conf-dir",
      "the runtime's folder of network configurations (default: the agent's, else /etc/cni/net.d)"
    )
  },
  Effect.fn(function*({ json, ...flags }) {
    if (process.getuid?.() !== 0) return yield* new NotRoot()
    const kernel = Layer.merge(NetlinkLayer.layer(), Firewall.layer())
    const findings = judge(yield* probe({ ...flags, proc: "/proc" }).pipe(Effect.provide(kernel)))
    yield* Console.log(json ? toJson({ findings }) : renderFindings(findings))
    const errors = findings.filter(({ severity }) => severity === "error").length
    if (errors > 0) return yield* new NodeNotFit({ errors })
  })
).pipe(Command.withDescription("find what stands in the way on this node, and say what to do"))
