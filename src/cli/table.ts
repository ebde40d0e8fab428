/**
 * Lines: rows as columns of equal width, two spaces apart; the first row is the heading. Cells become printable ASCII: a pod of
 * another runtime is named as its user likes, and what steers a terminal must not come from there. A cell is then as wide
 * as it is long, and needs no library for that (cli-table3 and columnify bring three packages more to measure it).
 */
import { ascii } from "../domain/quote.ts"

export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const cells = rows.map((row) => row.map(ascii))
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)))
  return cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd())
}
