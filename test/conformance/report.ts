/** What ginkgo's JUnit report says, and docs/conformance.md of it. Pure. */

export interface Result {
  readonly name: string
  readonly outcome: "passed" | "failed" | "skipped"
  readonly seconds: number
  /** Why it failed, or was skipped, in a line; empty: it passed. */
  readonly detail: string
  /** Why it failed at first: this is the result of its second try. */
  readonly first?: string
  /** Of which tree, where not of the run's: it was run again by itself. */
  readonly commit?: string
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: "\"", apos: "'" }

const unescape = (text: string): string =>
  text.replace(
    /&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi,
    (whole, decimal?: string, hex?: string, name?: string) =>
      decimal !== undefined
        ? String.fromCodePoint(Number(decimal))
        : hex !== undefined
        ? String.fromCodePoint(Number.parseInt(hex, 16))
        : ENTITIES[name ?? ""] ?? whole
  )

const attribute = (element: string, name: string): string =>
  unescape(new RegExp(String.raw`\s${name}="([^"]*)"`).exec(element)?.[1] ?? "")

/** The first line that says something. */
const firstLine = (text: string): string =>
  text.split("\n").map((line) => line.replace(/^\[FAILED\] /, "").trim()).find((line) => line !== "") ?? ""

/** Of one test case. e2e.test has the message as the element's text, not as its attribute. */
const detailOf = (body: string): readonly [Result["outcome"], string] => {
  const skipped = /<skipped\b[^>]*>/.exec(body)
  if (skipped !== null) return ["skipped", attribute(skipped[0], "message").replace(/^skipped(?: - )?/, "")]
  const failure = /<(?:failure|error)\b[^>]*>([^<]*)/.exec(body)
  if (failure === null) return ["passed", ""]
  return ["failed", firstLine(attribute(failure[0], "message")) || firstLine(unescape(failure[1] ?? ""))]
}

/** Tests that were chosen: the report has the others too, as skipped without a word, and the suite's own set-up. */
export const parseJUnit = (xml: string): ReadonlyArray<Result> =>
  [...xml.matchAll(/<testcase( [^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g)].flatMap(([, head = "", , body = ""]) => {
    const name = attribute(head, "name")
    if (!name.startsWith("[It] ")) return []
    const [outcome, detail] = detailOf(body)
    if (outcome === "skipped" && detail === "") return []
    return [{ name: name.slice("[It] ".length).trim(), outcome, seconds: Number(attribute(head, "time")), detail }]
  })

/** A run, as `test/conformance/result.json` has it. */
export interface Run {
  readonly date: string
  readonly commit: string
  readonly command: string
  readonly versions: string
  readonly nodes: number
  /** e2e.test's at once. */
  readonly processes: number
  readonly minutes: number
  readonly results: ReadonlyArray<Result>
}

const KINDS: ReadonlyArray<readonly [title: string, names: RegExp]> = [
  ["Conformance", /\[Conformance\]/],
  ["dual-stack", /IPv6DualStack/],
  ["host ports", /HostPort/],
  ["session affinity", /session affinity/],
  ["traffic policies and distribution", /Traffic ?Policy|Traffic Distribution|Topology Hints/],
  ["all", /^/]
]

const cell = (text: string): string =>
  text.replace(/[|[\]<>*_`\\]/g, String.raw`\$&`).replace(/\s+/g, " ").slice(0, 300)

const count = (results: ReadonlyArray<Result>, outcome: Result["outcome"]): number =>
  results.filter((result) => result.outcome === outcome).length

const row = (...cells: ReadonlyArray<string | number>): string => `| ${cells.join(" | ")} |`

const short = (name: string): string => cell(name.replace(/^\[sig-network\] /, ""))

const resultCell = ({ commit, detail, first, outcome }: Result): string =>
  [
    `${outcome}${detail === "" ? "" : `: ${cell(detail)}`}`,
    ...first === undefined ? [] : [`tried again alone; at first: ${cell(first)}`],
    ...commit === undefined ? [] : [`by itself, of commit ${commit}`]
  ].join(", ")

/** A run of some tests of a former one takes their place in it. */
export const merged = (former: Run, some: Run): Run => {
  const again = new Map(some.results.map((result) => [result.name, { ...result, commit: some.commit }]))
  return { ...former, results: former.results.map((result) => again.get(result.name) ?? result) }
}

/** docs/conformance.md; `inCi` are the names of those that CI runs too. */
export const markdown = (run: Run, inCi: ReadonlyArray<string>): string => {
  const results = run.results.toSorted((a, b) => a.name < b.name ? -1 : 1)
  const ran = results.filter(({ outcome }) => outcome !== "skipped")
  const skipped = results.filter(({ outcome }) => outcome === "skipped")
  const again = ran.filter(({ first }) => first !== undefined).length
  const later = ran.filter(({ commit }) => commit !== undefined).length
  const counts = (["passed", "failed", "skipped"] as const).map((outcome) => `${count(results, outcome)} ${outcome}`)
  return [
    "# Conformance",
    "",
    `Kubernetes' own tests of the network (all \`[sig-network]\` of e2e.test) against flock: **${counts.join(", ")}**.`,
    "",
    `Run on ${run.date} by \`${run.command}\` of commit ${run.commit}, in ${run.minutes} minutes, ${run.processes} tests at once, on one machine`,
    `with ${run.nodes} nodes as namespaces and FRR as the router, images of that tree, installed as the README says: ${run.versions}.`,
    ...again === 0 ? [] : [`Tests that failed were tried once more, alone, and the table says so: ${again}.`],
    ...later === 0 ? [] : [`Run by themselves later, of the commit that the table names: ${later}.`],
    `This is no certification. The command writes this file, and \`test/conformance/result.json\`, of which it is made. Those marked CI`,
    "are run by `npm run test:cluster` too, each as one test.",
    "",
    row("tests", "passed", "failed", "skipped"),
    "|---|---|---|---|",
    ...KINDS.map(([title, names]) => {
      const some = results.filter(({ name }) => names.test(name))
      return row(title, count(some, "passed"), count(some, "failed"), count(some, "skipped"))
    }),
    "",
    "## Run",
    "",
    row("`[sig-network]`", "result", "s", "CI"),
    "|---|---|---|---|",
    ...ran.map((one) =>
      row(short(one.name), resultCell(one), one.seconds.toFixed(0), inCi.includes(one.name) ? "yes" : "")
    ),
    "",
    "## Not run, and why",
    "",
    row("`[sig-network]`", "why"),
    "|---|---|",
    ...skipped.map(({ detail, name }) => row(short(name), cell(detail))),
    ""
  ].join("\n")
}
