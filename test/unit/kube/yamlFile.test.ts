import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { parseDocuments, placeOf } from "../../../src/kube/yamlFile.ts"

const mistake = (text: string) =>
  Effect.map(Effect.flip(parseDocuments(text)), (e) => `${placeOf("f.yaml", e)}: ${e.problem}`)

describe("a YAML file", () => {
  it.effect("says at which line and column it is broken, in one line", () =>
    Effect.gen(function*() {
      for (
        const [text, place] of [
          ["spec:\n  cidr4: 10.42.1.0/24: x\n", "f.yaml:2:"],
          ["spec:\n\tcidr4: x\n", "f.yaml:2:"],
          ["a: 1\na: 2\n", "f.yaml:2:1: "],
          ["{ half: [written", "f.yaml:1:"],
          ["a: 1\n---\nb: *nowhere\n", "f.yaml"]
        ] as const
      ) {
        const said = yield* mistake(text)
        assert.isTrue(said.startsWith(place), said)
        assert.notInclude(said, "\n")
      }
    }))

  it.effect.each(["*s3cret", "| s3cret", ">s3cret", "[s3cret", "\"s3cret", "@s3cret", "'a' s3cret", "!s3cret x: y: z"])(
    "does not repeat a password that breaks it: %s",
    (password) =>
      Effect.gen(function*() {
        const said = yield* mistake(`spec:\n  password: ${password}\n  b: 1\n`)
        assert.notInclude(said, "s3cret")
        assert.match(said, /^f\.yaml(:\d+:\d+)?: \w/)
      })
  )

  it.effect("has the documents that are not empty; JSON is one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* parseDocuments("---\na: 1\n---\n---\nb: 2\n"), [{ a: 1 }, { b: 2 }])
      assert.deepStrictEqual(yield* parseDocuments("{\"a\":1}"), [{ a: 1 }])
      assert.deepStrictEqual(yield* parseDocuments("{a: 1}"), [{ a: 1 }])
      assert.deepStrictEqual(yield* parseDocuments("# nothing\n"), [])
    }))

  it.effect("is not blown up by aliases", () =>
    Effect.gen(function*() {
      const levels = Array.from({ length: 9 }, (_, i) =>
        `a${i + 1}: &a${i + 1} [${Array.from({ length: 9 }, () => `*a${i}`).join(", ")}]`)
      assert.match(yield* mistake(["a0: &a0 [x]", ...levels].join("\n")), /^f\.yaml: .*alias/)
    }))
})
