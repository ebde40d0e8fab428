/** A tool's line, answered. */
import { Effect } from "effect"
import type { Introspection } from "./Introspection.ts"
import { encodeAnswer, encodeRefusal, parseQuestion, type Question, Refused } from "./Tools.ts"

const answer = (introspection: Introspection["Service"], question: Question): Effect.Effect<string, Refused> => {
  switch (question.ask) {
    case "status":
      return Effect.map(introspection.status, (value) => encodeAnswer("status", value))
    case "why":
      return Effect.map(introspection.why(question.address), (value) => encodeAnswer("why", value))
    case "rights":
      return Effect.map(introspection.rights, (value) => encodeAnswer("rights", value))
    case "withdraw":
      return Effect.map(introspection.withdraw(question.now ?? false), (value) => encodeAnswer("withdraw", value))
    case "restore":
      return Effect.map(introspection.restore, (value) => encodeAnswer("restore", value))
  }
}

/** The reply's line, newline included. */
export const answerLine = (introspection: Introspection["Service"], line: string): Effect.Effect<string> =>
  Effect.fromResult(parseQuestion(line)).pipe(
    Effect.flatMap((question) => answer(introspection, question)),
    Effect.catch((refused) => Effect.succeed(encodeRefusal(refused))),
    Effect.catchDefect((defect) =>
      Effect.as(
        Effect.logError("a tool's question failed", defect),
        encodeRefusal(new Refused({ message: "the agent failed at this question; its log says how" }))
      )
    )
  )
