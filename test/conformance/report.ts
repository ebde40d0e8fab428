/** What ginkgo's JUnit report says, and docs/conformance.md of it. Pure. */

export interface Result {
  readonly name: string
  readonly outcome: "passed" | "failed" | "skipped"
  readonly seconds: number
  /** First line of the failure. */
  readonly detail: string
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

/** Tests only: ginkgo lists its own set-up beside them. What was not chosen is left out. */
export const parseJUnit = (xml: string): ReadonlyArray<Result> =>
  [...xml.matchAll(/<testcase ([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g)].flatMap(([, head = "", , body = ""]) => {
    const attribute = (name: string) => unescape(new RegExp(`\\b${name}="([^"]*)"`).exec(head)?.[1] ?? "")
    const name = attribute("name").replace(/^\[It\] /, "")
    if (!attribute("name").startsWith("[It]")) return []
    const failure = /<(?:failure|error)\b[^>]*>/.exec(body)
    const outcome = /<skipped/.test(body) ? "skipped" : failure === null ? "passed" : "failed"
    if (outcome === "skipped") return []
    return [{
      name,
      outcome,
      seconds: Number(attribute("time")),
      detail: unescape(/message="([^"]*)"/.exec(failure?.[0] ?? "")?.[1] ?? "").split("\n")[0] ?? ""
    }]
  })

const cell = (text: string): string => text.replaceAll("|", "\\|").replace(/\s+/g, " ")

export interface Circumstances {
  readonly date: string
  readonly command: string
  readonly versions: string
}

/** The whole document. */
export const markdown = (results: ReadonlyArray<Result>, { command, date, versions }: Circumstances): string => {
  const passed = results.filter(({ outcome }) => outcome === "passed").length
  const rows = results.toSorted((a, b) => a.name < b.name ? -1 : 1).map(({ detail, name, outcome, seconds }) =>
    `| ${cell(name)} | ${outcome}${detail === "" ? "" : `: ${cell(detail)}`} | ${seconds.toFixed(0)} |`
  )
  return [
    "# Conformance",
    "",
    `Kubernetes' own tests of the network (e2e.test), run on ${date} by \`${command}\`: ${versions}.`,
    "",
    `**${passed} of ${results.length} passed.** This file is written by that command.`,
    "",
    "| test | result | s |",
    "|---|---|---|",
    ...rows,
    ""
  ].join("\n")
}
