/**
 * One line to the agent, one line back: of tools and of `install-cni`. On `node:net`: Effect's NodeSocket takes a tool's
 * start 15 ms and 3 MB more (medians of 5), and twice the lines, for there a peer's end is an error.
 */
import { Data, Effect, Schema } from "effect"
import * as Net from "node:net"
import { encodeRequest, type Request } from "../domain/Wire.ts"

export class AgentUnreachable
  extends Data.TaggedError("AgentUnreachable")<{ readonly socket: string; readonly detail: string }>
{
  override get message(): string {
    return `no agent answers on ${this.socket} (--socket): ${this.detail}`
  }
}

/** Bytes of an answer, at most: some hundred times what a full node's `status` has. */
const MAX_ANSWER = 64 << 20

/** `line` has its newline; the answer may have. */
export const exchange = (socket: string, line: string) =>
  Effect.callback<string, AgentUnreachable>((resume) => {
    const chunks: Array<Buffer> = []
    let length = 0
    const connection = Net.connect(socket, () => connection.end(line))
    connection.on("data", (chunk) => {
      chunks.push(chunk)
      length += chunk.length
      if (length <= MAX_ANSWER) return
      connection.destroy()
      resume(Effect.fail(new AgentUnreachable({ socket, detail: `its answer has more than ${MAX_ANSWER} bytes` })))
    })
    connection.on("end", () => resume(Effect.succeed(Buffer.concat(chunks).toString("utf8"))))
    connection.on("error", (error) => resume(Effect.fail(new AgentUnreachable({ socket, detail: error.message }))))
    return Effect.sync(() => connection.destroy())
  })

/** The agent's CNI error. */
export class CniRefused extends Data.TaggedError("CniRefused")<{ readonly message: string }> {}

const CniReply = Schema.fromJsonString(Schema.Union([
  Schema.Struct({ result: Schema.Unknown }),
  Schema.Struct({ error: Schema.Struct({ msg: Schema.String }) })
]))

/** A CNI call, as the plugin makes it, that is only about success. */
export const callCni = Effect.fn("callCni")(function*(socket: string, request: Partial<Request> & Pick<Request, "op">) {
  const text = yield* exchange(socket, encodeRequest(request))
  const reply = yield* Schema.decodeUnknownEffect(CniReply)(text).pipe(
    Effect.mapError(() => new AgentUnreachable({ socket, detail: "the answer is not flock's" }))
  )
  if ("error" in reply) return yield* new CniRefused({ message: reply.error.msg })
})
