/** Lines of `bird.conf`. */

const indent = (lines: ReadonlyArray<string>): ReadonlyArray<string> => lines.map((line) => `  ${line}`)

export const block = (head: string, lines: ReadonlyArray<string>, tail = ""): ReadonlyArray<string> => [
  `${head} {`,
  ...indent(lines),
  `}${tail}`
]
