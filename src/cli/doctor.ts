/** `flock-agent doctor`: what stands in the way on this node. Works with and without a running agent. */
import { Console, Data, Effect } from "effect"
import { Command } from "effect/cli"
import type { Finding } from "../doctor/facts.ts"
import { judge } from "../doctor/judge.ts"
import { probe } from "../doctor/probe.ts"
import { oneLine } from "../domain/quote.ts"
import * as NetlinkLayer from "../netlink/layer.ts"
import { birdSocketFlag, cniBinDirFlag, jsonFlag, socketFlag, text } from "./flags.ts"
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
    birdSocket: birdSocketFlag,
    binDir: cniBinDirFlag,
    confDir: text("cni-conf-dir", "the runtime's folder of network configurations", "/etc/cni/net.d")
  },
  Effect.fn(function*({ json, ...flags }) {
    if (process.getuid?.() !== 0) return yield* new NotRoot()
    const findings = judge(yield* probe({ ...flags, proc: "/proc" }).pipe(Effect.provide(NetlinkLayer.layer())))
    yield* Console.log(json ? toJson({ findings }) : renderFindings(findings))
    const errors = findings.filter(({ severity }) => severity === "error").length
    if (errors > 0) return yield* new NodeNotFit({ errors })
  })
).pipe(Command.withDescription("find what stands in the way on this node, and say what to do"))
