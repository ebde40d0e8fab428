/** A walk in words. `--json` prints the {@link WhyReport} itself. */
import { oneLine } from "../domain/quote.ts"
import type { Step } from "./step.ts"
import type { WhyReport } from "./walk.ts"

const mark = ({ ok }: Step): string => ok === "skipped" ? "-" : ok ? "ok" : "STOPS"

/** Several lines, the answer first, without a newline at the end. */
export const render = (report: WhyReport): string => {
  const width = Math.max(...report.steps.map(({ step }) => step.length))
  return [
    `${report.answer}.`,
    "",
    ...report.steps.map((step) => `  ${mark(step).padEnd(5)}  ${step.step.padEnd(width)}  ${step.detail}`)
  ].map(oneLine).join("\n")
}
