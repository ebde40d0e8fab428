/**
 * A terminal session as an animated SVG: lines appear one after another, and the window scrolls. Where nothing moves (a
 * printout, a reader that asked for less motion, a viewer without CSS) it stands on the lines named by `still`.
 */

/** What a command printed: each line as it came, with the escape codes of bold (1) and dim (2). */
export interface Recording {
  readonly command: string
  readonly lines: ReadonlyArray<string>
}

export interface TerminalOptions {
  /** Lines in the window. */
  readonly rows: number
  readonly columns: number
  /** Text of the line that stands at the top where nothing moves. */
  readonly still: string
}

const CELL = { width: 7.83, height: 18 }
const PADDING = 16
const BAR = 34
/** Seconds: until a line follows the one before, until a heading follows, and at the end. */
const PACE = { line: 0.22, heading: 1.2, end: 5 }

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** Runs of one line that look alike. */
const spans = (line: string, columns: number): string => {
  let shown = 0
  let look = ""
  // oxlint-disable-next-line no-control-regex -- escape codes are what this reads
  return line.split(/(\u001b\[\d+m)/).map((part) => {
    // oxlint-disable-next-line no-control-regex -- as above
    const code = /^\u001b\[(\d+)m$/.exec(part)?.[1]
    if (code !== undefined) {
      look = code === "1" ? " class=\"b\"" : code === "2" ? " class=\"d\"" : ""
      return ""
    }
    const cut = part.slice(0, Math.max(0, columns - shown))
    shown += part.length
    const end = shown > columns && cut !== "" ? `${cut.slice(0, -1)}…` : cut
    return end === "" ? "" : `<tspan${look}>${escaped(end)}</tspan>`
  }).join("")
}

const isHeading = (line: string): boolean => line.startsWith("\u001b[1m")

const percent = (at: number, whole: number): string => `${(100 * at / whole).toFixed(2)}%`

export const terminal = ({ command, lines }: Recording, { columns, rows, still }: TerminalOptions): string => {
  const all = [`\u001b[2m$\u001b[0m ${command}`, ...lines]
  const times: Array<number> = []
  all.reduce((at, line) => {
    const next = at + (isHeading(line) ? PACE.heading : PACE.line)
    times.push(next)
    return next
  }, 0)
  const whole = (times.at(-1) ?? 0) + PACE.end
  const width = Math.ceil(columns * CELL.width + 2 * PADDING)
  const inner = rows * CELL.height
  const height = inner + BAR + 2 * PADDING
  const offset = (row: number) => Math.max(0, row) * -CELL.height
  const stillAt = offset(Math.min(Math.max(0, all.findIndex((line) => line.includes(still))), all.length - rows))
  const scroll = all.map((_, i) => `${percent(times[i] ?? 0, whole)}{transform:translateY(${offset(i + 1 - rows)}px)}`)
    .filter((_, i) => i + 1 > rows)
  const text = all.map((line, i) =>
    `<text class="l" y="${i * CELL.height}" style="animation-name:l${i}">${spans(line, columns)}</text>`
  )
  const appear = all.map((_, i) =>
    `@keyframes l${i}{0%{opacity:0}${percent((times[i] ?? 0) - 0.01, whole)}{opacity:0}${
      percent(times[i] ?? 0, whole)
    }{opacity:1}100%{opacity:1}}`
  )
  const dots = ["#ff5f57", "#febc2e", "#28c840"].map((fill, i) =>
    `<circle cx="${20 + i * 18}" cy="${BAR / 2}" r="5.5" fill="${fill}"/>`
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" xml:space="preserve">
<title>${escaped(command)}</title>
<!-- Made by scripts/pictures/main.ts from docs/images/demo.json, which is what a run printed. -->
<style>
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3;white-space:pre}
.b{font-weight:700;fill:#7ee787}.d{fill:#9da7b3}
.s{transform:translateY(${stillAt}px)}
@media (prefers-reduced-motion:no-preference){
.s{animation:s ${whole.toFixed(2)}s step-end infinite}
.l{animation-duration:${whole.toFixed(2)}s;animation-iteration-count:infinite;animation-timing-function:step-end}
}
@keyframes s{0%{transform:translateY(0)}${scroll.join("")}}
${appear.join("\n")}
</style>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="10" fill="#0d1117" stroke="#57606a"/>
${dots.join("")}
<text x="${width / 2}" y="${BAR / 2 + 4}" text-anchor="middle"><tspan class="d">${escaped(command)}</tspan></text>
<svg x="${PADDING}" y="${BAR}" width="${width - 2 * PADDING}" height="${
    inner + PADDING
  }" overflow="hidden"><g transform="translate(0 13)"><g class="s" transform="translate(0 ${stillAt})">
${text.join("\n")}
</g></g></svg>
</svg>
`
}
