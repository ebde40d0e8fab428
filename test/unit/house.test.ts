/** The house as docs/architecture.md and CONTRIBUTING.md describe it is the one that stands, and that lint enforces. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const ROOT = resolve(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8")

const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...["docs", "docs/decisions"].flatMap((folder) =>
    readdirSync(join(ROOT, folder)).filter((file) => file.endsWith(".md")).map((file) => `${folder}/${file}`)
  )
]

const folders = readdirSync(join(ROOT, "src"), { withFileTypes: true })
  .filter((entry) => entry.isDirectory()).map(({ name }) => name)

/** Rooms in the order in which they may be imported, from a document's line `domain < process < …`. */
const order = (file: string): ReadonlyArray<string> => {
  const [line = ""] = /^domain < .*$/m.exec(read(file)) ?? []
  return line.split(" < ").filter((name) => !name.endsWith(".ts"))
}

/** Rows of the table under a heading, cells trimmed, without the table's head. */
const table = (file: string, heading: string): ReadonlyArray<ReadonlyArray<string>> => {
  const section = read(file).split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? ""
  return section.split("\n").filter((line) => line.startsWith("| ")).slice(1)
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
}

const sources = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/`((?:src|cni|test)\/[^`]+\.(?:ts|c|h))`/g)].map(([, path = ""]) => path)

describe("the rooms of src", () => {
  const rooms = order("docs/architecture.md")

  it("are the folders, in both documents", () => {
    assert.deepStrictEqual(rooms.toSorted(), folders.toSorted())
    assert.deepStrictEqual(order("CONTRIBUTING.md"), rooms)
  })

  it("each has a row that says what it is", () => {
    const described = table("docs/architecture.md", "The rooms").map(([name = ""]) => name.replaceAll("`", ""))
    assert.deepStrictEqual(described, rooms)
  })

  interface Override {
    readonly files: ReadonlyArray<string>
    readonly rules: Readonly<Record<string, unknown>>
  }
  const overrides: ReadonlyArray<Override> = JSON.parse(read(".oxlintrc.json")).overrides
  const restrictions = (room: string): ReadonlyArray<string> =>
    overrides.filter(({ files }) => files.includes(`src/${room}/**`)).flatMap(({ rules }) => {
      const [severity, options] = rules["no-restricted-imports"] as [
        string,
        { readonly patterns: ReadonlyArray<{ readonly group: ReadonlyArray<string> }> }
      ]
      assert.strictEqual(severity, "error")
      return options.patterns.flatMap(({ group }) => group)
    })

  it.each(rooms)("%s may not import what is above it, says lint", (room) => {
    const above = [...rooms.slice(rooms.indexOf(room) + 1).map((name) => `../${name}/*`), "../*.ts"]
    assert.deepStrictEqual(restrictions(room).toSorted(), above.toSorted())
  })

  it("has test layers that the agent does not import", () => {
    const files = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".ts"))
    assert.isAbove(files.filter((file) => file.endsWith("Test.ts")).length, 3)
    const importing = files.filter((file) =>
      !file.endsWith("Test.ts") && /from "[^"]*Test\.ts"/.test(read(`src/${file}`))
    )
    assert.deepStrictEqual(importing, [])
  })

  it("only three files stand outside", () => {
    const outside = readdirSync(join(ROOT, "src")).filter((name) => !folders.includes(name))
    assert.deepStrictEqual(outside.toSorted(), ["Agent.ts", "Settings.ts", "main.ts"])
  })
})

describe("Where to look", () => {
  const rows = table("docs/architecture.md", "Where to look")

  it("answers what people ask first", () => {
    const questions = rows.map(([question]) => question)
    for (
      const question of [
        "Where does a pod get its address?",
        "What decides that an address is announced?",
        "Where is bird.conf made?",
        "What happens at start?"
      ]
    ) assert.include(questions, question)
  })

  it.each(rows)("%s", (_, ...cells) => {
    const files = sources(cells.join(" "))
    assert.isNotEmpty(files)
    assert.isAtMost(files.length, 2)
    for (const file of files) assert.isTrue(existsSync(join(ROOT, file)), `${file} is not there`)
  })

  it("leads into every room", () => {
    const visited = new Set(rows.flatMap((cells) => sources(cells.join(" "))).map((file) => file.split("/")[1]))
    assert.deepStrictEqual(folders.filter((room) => !visited.has(room)), [])
  })
})

it.each(DOCUMENTS)("%s names only files that are there", (file) => {
  const named = [...read(file).matchAll(/`((?:src|cni|lab|test|scripts|manifests|docs|tools|\.ci)\/[^`\s*{}]*)`/g)]
  // Packages are there for whoever needs them: those of the tools for lint alone.
  const own = named.map(([, path = ""]) => path).filter((path) => !path.includes("node_modules"))
  for (const path of own) assert.isTrue(existsSync(join(ROOT, path)), `${path} is not there`)
})

describe("docs/decisions", () => {
  const records = readdirSync(join(ROOT, "docs/decisions")).filter((file) => file !== "README.md").toSorted()

  it("are numbered without a gap, and listed", () => {
    assert.deepStrictEqual(
      records.map((file) => file.slice(0, 4)),
      records.map((_, i) => String(i + 1).padStart(4, "0"))
    )
    const index = read("docs/decisions/README.md")
    for (const file of records) assert.include(index, `(${file})`)
  })

  it.each(records)("%s says context, decision, figures and consequences, in 15 to 45 lines", (file) => {
    const text = read(`docs/decisions/${file}`)
    const lines = text.trimEnd().split("\n").length
    assert.isAtLeast(lines, 15)
    assert.isAtMost(lines, 45)
    assert.match(text, new RegExp(`^# ${file.slice(0, 4)} `))
    for (const heading of ["Context", "Decision", "Figures", "Consequences"]) assert.include(text, `\n## ${heading}\n`)
  })
})
