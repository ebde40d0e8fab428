/**
 * The protocol of the agent's own tools, on the agent's socket: one JSON line each way, as the plugin's, but with words
 * of its own. A question is `{"ask":NAME,…}`, and `ask` its first key tells it from a CNI call; the reply is
 * `{"answer":…}` or `{"refused":"one sentence"}`. Fields that one side does not know are skipped.
 *
 * Not effect/rpc: it needs a socket file of its own, and takes a tool's start 35 ms of processor and 9 MB more (0.10
 * against 0.07 s, 69 against 60 MB, medians of 5), for five questions of one reply each.
 */
import { Data, Effect, Result, Schema, SchemaIssue } from "effect"
import { AddressFromString } from "../domain/Ip.ts"
import { quote } from "../domain/quote.ts"
import { VERSION } from "../process/version.ts"
import { WhyReport } from "../why/walk.ts"
import { StatusReport } from "./StatusReport.ts"

export const Question = Schema.Union([
  Schema.Struct({ ask: Schema.Literal("status") }),
  Schema.Struct({ ask: Schema.Literal("why"), address: AddressFromString }),
  Schema.Struct({ ask: Schema.Literal("rights") }),
  Schema.Struct({
    ask: Schema.Literal("withdraw"),
    /** Without GRACEFUL_SHUTDOWN first. */
    now: Schema.optionalKey(Schema.Boolean)
  }),
  Schema.Struct({ ask: Schema.Literal("restore") })
])
export type Question = typeof Question.Type

/** What each question is answered with. */
export interface Answers {
  readonly status: StatusReport
  readonly why: WhyReport
  /** Of the API server, those that the agent lacks. */
  readonly rights: ReadonlyArray<string>
  /** BIRD's answers, one line a session. */
  readonly withdraw: ReadonlyArray<string>
  readonly restore: ReadonlyArray<string>
}

const answers: { readonly [Name in keyof Answers]: Schema.Codec<Answers[Name], unknown> } = {
  status: StatusReport,
  why: WhyReport,
  rights: Schema.Array(Schema.String),
  withdraw: Schema.Array(Schema.String),
  restore: Schema.Array(Schema.String)
}

/** The question cannot be answered, or what it asks for failed: one sentence for whoever asked. */
export class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

/** The reply is of another protocol or another version of this one. */
export class NotUnderstood extends Data.TaggedError("NotUnderstood")<{ readonly message: string }> {}

export const isQuestion = (line: string): boolean => line.startsWith("{\"ask\":")

const issueText = SchemaIssue.makeFormatterDefault()

/** A question's line, newline included. */
export const encodeQuestion = (question: Question): string =>
  `${JSON.stringify(Schema.encodeSync(Question)(question))}\n`

const Named = Schema.fromJsonString(Schema.Struct({ ask: Schema.String }))
const decodeQuestion = Schema.decodeUnknownResult(Schema.fromJsonString(Question))

/** The question of a line, or what a person would have to know about why it is none. */
export const parseQuestion = (line: string): Result.Result<Question, Refused> =>
  Result.mapError(decodeQuestion(line), ({ issue }) => {
    const name = Result.map(Schema.decodeUnknownResult(Named)(line), ({ ask }) => ask)
    const problem = Result.isFailure(name)
      ? `${quote(line)} is not a question`
      : Object.hasOwn(answers, name.success)
      ? `the question ${quote(name.success)} is not understood: ${quote(issueText(issue))}`
      : `${quote(name.success)} is not among the questions that it knows: ${Object.keys(answers).join(", ")}`
    return new Refused({ message: `the agent is flock ${VERSION}: ${problem}` })
  })

/** The reply's line for an answer, newline included. */
export const encodeAnswer = <Name extends keyof Answers>(name: Name, answer: Answers[Name]): string =>
  `${JSON.stringify({ answer: Schema.encodeSync(answers[name])(answer) })}\n`

/** The reply's line for a refusal, newline included. */
export const encodeRefusal = ({ message }: Refused): string => `${JSON.stringify({ refused: message })}\n`

const Reply = Schema.fromJsonString(Schema.Union([
  Schema.Struct({ answer: Schema.Unknown }),
  Schema.Struct({ refused: Schema.String })
]))

/** The answer that a reply's line carries. */
export const parseReply = Effect.fnUntraced(function*<Name extends keyof Answers>(name: Name, line: string) {
  const reply = yield* Schema.decodeUnknownEffect(Reply)(line).pipe(
    Effect.mapError(() => new NotUnderstood({ message: `${quote(line)} is not a reply that this tool knows` }))
  )
  if ("refused" in reply) return yield* new Refused({ message: reply.refused })
  return yield* Schema.decodeUnknownEffect(answers[name])(reply.answer).pipe(
    Effect.mapError(({ issue }) => new NotUnderstood({ message: quote(issueText(issue)) }))
  )
})
