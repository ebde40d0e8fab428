/** Files of a person: YAML or JSON, and where in it the mistake is. */
import { Data, Effect } from "effect"
import * as Yaml from "yaml"

/** Not YAML. `line` and `column` count from 1; 0: the parser names none. */
export class YamlError extends Data.TaggedError("YamlError")<{
  readonly line: number
  readonly column: number
  /** The parser's words. */
  readonly problem: string
}> {}

/**
 * The parser ends some messages with the text that it stumbled over: the place says where that is, and a password such as
 * `*abc` or `>abc` is just what it stumbles over.
 */
const withoutSource = (message: string, text: string): string =>
  message.replace(
    /: (.+)$/s,
    (all, source: string) => text.includes(source) || text.includes(source.replace(/^"|"$/g, "")) ? "" : all
  )

/** Every document that is not empty. JSON is tried first: its parser is native. */
export const parseDocuments = (text: string): Effect.Effect<ReadonlyArray<unknown>, YamlError> =>
  Effect.suspend(() => {
    if (text.trimStart().startsWith("{")) {
      try {
        return Effect.succeed([JSON.parse(text) as unknown])
      } catch {
        // Flow-style YAML may start like this too.
      }
    }
    const lineCounter = new Yaml.LineCounter()
    const documents = Yaml.parseAllDocuments(text, { lineCounter, prettyErrors: false })
    const error = documents.flatMap((document) => document.errors)[0]
    if (error !== undefined) {
      const { col, line } = lineCounter.linePos(error.pos[0])
      return Effect.fail(new YamlError({ line, column: col, problem: withoutSource(error.message, text) }))
    }
    return Effect.try({
      // Fails where aliases would make it grow without end.
      try: () => documents.map((document) => document.toJS() as unknown).filter((document) => document !== null),
      catch: (e) =>
        new YamlError({ line: 0, column: 0, problem: withoutSource(e instanceof Error ? e.message : String(e), text) })
    })
  })

/** `FILE:3:7`, as editors and compilers write it. */
export const placeOf = (file: string, { column, line }: YamlError): string =>
  line === 0 ? file : `${file}:${line}:${column}`
