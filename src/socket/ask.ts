/** One question of a tool to the running agent. */
import { Data, Effect } from "effect"
import { VERSION } from "../process/version.ts"
import { AgentUnreachable, exchange } from "./exchange.ts"
import { type Answers, encodeQuestion, parseReply, type Question } from "./Tools.ts"

export class OtherVersion
  extends Data.TaggedError("OtherVersion")<{ readonly socket: string; readonly detail: string }>
{
  override get message(): string {
    return `the agent on ${this.socket} is not of this tool's version, flock ${VERSION}; use the agent's own: ${this.detail}`
  }
}

/** An agent that has not answered after this long hangs. */
const PATIENCE = "30 seconds"
/** It may announce with GRACEFUL_SHUTDOWN for a minute before (`spec.bgp.withdraw`). */
const PATIENCE_TO_WITHDRAW = "90 seconds"

export const ask = Effect.fn("ask")(
  function*<Name extends keyof Answers>(socket: string, question: Extract<Question, { readonly ask: Name }>) {
    const patience = question.ask === "withdraw" ? PATIENCE_TO_WITHDRAW : PATIENCE
    const line = yield* exchange(socket, encodeQuestion(question)).pipe(
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => Effect.fail(new AgentUnreachable({ socket, detail: `no answer within ${patience}` }))
      })
    )
    const name: Name = question.ask
    return yield* parseReply(name, line).pipe(
      Effect.catchTag("NotUnderstood", ({ message }) => Effect.fail(new OtherVersion({ socket, detail: message })))
    )
  }
)
