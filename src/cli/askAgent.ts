/** The tools' end of the agent's socket: one connection, one line each way (`Wire.ts`). */
import { Data, Effect } from "effect"
import * as Net from "node:net"
import { type CniError, encodeRequest, type Request } from "../Wire.ts"

/** No agent, or one that does not speak as it should. */
export class AgentUnreachable extends Data.TaggedError("AgentUnreachable")<{
  readonly socket: string
  readonly detail: string
}> {
  override get message(): string {
    return `no agent answers on ${this.socket}: ${this.detail}`
  }
}

/** The agent's answer was an error. */
export class AgentRefused extends Data.TaggedError("AgentRefused")<{ readonly error: CniError }> {
  override get message(): string {
    const { msg, details } = this.error
    return details ? `${msg} (${details})` : msg
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null

const isCniError = (value: unknown): value is CniError =>
  isRecord(value) && typeof value["code"] === "number" && typeof value["msg"] === "string"

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const readAnswer = (socket: string, line: string): Effect.Effect<unknown, AgentUnreachable | AgentRefused> => {
  const answer = parse(line)
  if (isRecord(answer) && "result" in answer) return Effect.succeed(answer["result"])
  if (isRecord(answer) && isCniError(answer["error"])) return Effect.fail(new AgentRefused({ error: answer["error"] }))
  return Effect.fail(
    new AgentUnreachable({ socket, detail: line === "" ? "it closed the connection" : "its answer is not flock's" })
  )
}

/** The `result` of the agent's reply. The whole exchange may take ten seconds. */
export const askAgent = (
  socket: string,
  request: Partial<Request> & Pick<Request, "op">
): Effect.Effect<unknown, AgentUnreachable | AgentRefused> =>
  Effect.callback<string, AgentUnreachable>((resume) => {
    const chunks: Array<Buffer> = []
    const connection = Net.connect(socket)
    connection.on("connect", () => connection.write(encodeRequest(request)))
    connection.on("data", (chunk: Buffer) => chunks.push(chunk))
    connection.on("end", () => resume(Effect.succeed(Buffer.concat(chunks).toString("utf8").trimEnd())))
    connection.on("error", (error) => resume(Effect.fail(new AgentUnreachable({ socket, detail: error.message }))))
    return Effect.sync(() => connection.destroy())
  }).pipe(
    Effect.timeoutOrElse({
      duration: "10 seconds",
      orElse: () => Effect.fail(new AgentUnreachable({ socket, detail: "it did not answer within 10 s" }))
    }),
    Effect.flatMap((line) => readAnswer(socket, line))
  )
