/** The dashboard drawn as an SVG from recorded answers of Prometheus: not Grafana's own rendering, but the same panels. */
import { type Panel, PANELS } from "./panels.ts"

export interface Line {
  readonly name: string
  /** Seconds since the recording began, and the value. */
  readonly points: ReadonlyArray<readonly [number, number]>
}

/** By the panel's title. */
export interface Recorded {
  readonly seconds: number
  readonly lines: Readonly<Record<string, ReadonlyArray<Line>>>
}

const WIDTH = 1200
const MARGIN = 12
const STAT = { height: 84 }
const GRAPH = { height: 200, left: 56, right: 14, top: 40, bottom: 62 }
const COLOURS = [
  "#73bf69",
  "#f2cc0c",
  "#5794f2",
  "#ff9830",
  "#f2495c",
  "#b877d9",
  "#8ab8ff",
  "#ffa6b0",
  "#96d98d",
  "#ca95e5"
]

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

const text = (x: number, y: number, words: string, attributes = ""): string =>
  `<text x="${x}" y="${y}" ${attributes}>${escaped(words)}</text>`

const valueText = (value: number, unit: Panel["unit"]): string => {
  const round = (n: number) => String(Number(n.toPrecision(3)))
  if (unit === "s") return value === 0 ? "0" : value < 1 ? `${round(value * 1000)} ms` : `${round(value)} s`
  return unit === "short" ? round(value) : `${round(value)}/s`
}

const card = (x: number, y: number, width: number, height: number): string =>
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="3" fill="#181b1f" stroke="#2c3235"/>`

const stat = (panel: Panel, lines: ReadonlyArray<Line>, x: number, y: number, width: number): string => {
  const [line] = lines
  const value = line?.points.at(-1)?.[1]
  const words = value === undefined ? "no data" : valueText(value, panel.unit)
  return card(x, y, width, STAT.height) + text(x + 12, y + 22, panel.title, "class=\"t\"") +
    text(x + width / 2, y + 66, words, "class=\"v\" text-anchor=\"middle\"") +
    (panel.title === "Nodes" && line !== undefined ? text(x + 12, y + 74, line.name, "class=\"l\"") : "")
}

const graph = (panel: Panel, recorded: Recorded, x: number, y: number, width: number): string => {
  const lines = (recorded.lines[panel.title] ?? []).slice(0, COLOURS.length)
  const values = lines.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite)
  const highest = Math.max(...values, 0) * 1.1 || 1
  const plot = { width: width - GRAPH.left - GRAPH.right, height: GRAPH.height - GRAPH.top - GRAPH.bottom }
  const atX = (seconds: number) => x + GRAPH.left + seconds / recorded.seconds * plot.width
  const atY = (value: number) => y + GRAPH.top + plot.height * (1 - value / highest)
  const grid = [0, 0.5, 1].map((part) => {
    const height = atY(highest * part).toFixed(1)
    return `<path d="M${x + GRAPH.left} ${height}h${plot.width}" stroke="#2c3235"/>` +
      text(
        x + GRAPH.left - 6,
        Number(height) + 4,
        valueText(highest * part, panel.unit),
        "class=\"l\" text-anchor=\"end\""
      )
  })
  const drawn = lines.map(({ points }, i) => {
    const path = points.filter(([, value]) => Number.isFinite(value))
      .map(([at, value], j) => `${j === 0 ? "M" : "L"}${atX(at).toFixed(1)} ${atY(value).toFixed(1)}`).join("")
    return `<path d="${path}" fill="none" stroke="${COLOURS[i]}" stroke-width="1.5"/>`
  })
  const columns = lines.some(({ name }) => name.length > 16) ? 2 : 3
  const column = (width - 24) / columns
  const legend = lines.slice(0, 2 * columns).map(({ name }, i) => {
    const [left, top] = [x + 12 + i % columns * column, y + GRAPH.height - 28 + Math.floor(i / columns) * 16]
    return `<rect x="${left}" y="${top - 4}" width="12" height="3" fill="${COLOURS[i]}"/>` +
      text(left + 17, top, name.length > 28 ? `${name.slice(0, 27)}…` : name, "class=\"l\"")
  })
  const empty = lines.length === 0
    ? [text(x + width / 2, y + GRAPH.height / 2, "no data in this recording", "class=\"l\" text-anchor=\"middle\"")]
    : []
  const times = lines.length === 0 ?
    [] :
    ["0 s", `${recorded.seconds} s`].map((words, i) =>
      text(
        atX(i * recorded.seconds),
        y + GRAPH.top + plot.height + 14,
        words,
        `class="l" text-anchor="${i ? "end" : "start"}"`
      )
    )
  return card(x, y, width, GRAPH.height) + text(x + 12, y + 22, panel.title, "class=\"t\"") +
    [...grid, ...drawn, ...legend, ...empty, ...times].join("")
}

export const draw = (recorded: Recorded): string => {
  const stats = PANELS.filter(({ kind }) => kind === "stat")
  const graphs = PANELS.filter(({ kind }) => kind === "timeseries")
  const statWidth = (WIDTH - MARGIN * (stats.length + 1)) / stats.length
  const graphWidth = (WIDTH - MARGIN * 4) / 3
  const top = 44
  const below = top + STAT.height + MARGIN
  const height = below + Math.ceil(graphs.length / 3) * (GRAPH.height + MARGIN)
  const body = [
    text(MARGIN, 28, "flock", "class=\"h\""),
    text(
      WIDTH - MARGIN,
      28,
      "drawn from Prometheus' answers by scripts/dashboard: not Grafana's own rendering",
      "class=\"l\" text-anchor=\"end\""
    ),
    ...stats.map((panel, i) =>
      stat(panel, recorded.lines[panel.title] ?? [], MARGIN + i * (statWidth + MARGIN), top, statWidth)
    ),
    ...graphs.map((panel, i) =>
      graph(
        panel,
        recorded,
        MARGIN + i % 3 * (graphWidth + MARGIN),
        below + Math.floor(i / 3) * (GRAPH.height + MARGIN),
        graphWidth
      )
    )
  ]
  const style = "text{font-family:Inter,Helvetica,Arial,sans-serif;fill:#ccccdc}" +
    ".h{font-size:20px;font-weight:500}.t{font-size:13px;font-weight:500}.v{font-size:32px;fill:#73bf69}.l{font-size:11px;fill:#9fa7b3}"
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" ` +
    `aria-label="flock's dashboard: sessions, announcements, CNI calls, addresses"><style>${style}</style>` +
    `<rect width="100%" height="100%" fill="#111217"/>\n${body.join("\n")}\n</svg>\n`
}
