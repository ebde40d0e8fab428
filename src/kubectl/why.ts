/** `kubectl flock why ADDRESS`: one answer of many nodes'. Pure; asking is `commands.ts`'. */
import { Result } from "effect"
import { contains, type IpAddress, parseAddress, parseCidr } from "../domain/Ip.ts"
import { record, records } from "../domain/record.ts"
import type { Answer } from "./ask.ts"
import { namesOf, type NodeRow } from "./nodes.ts"

/** Nodes that hold the address, or could: it is in their prefixes, or a pod of theirs has it. */
export const candidates = (rows: ReadonlyArray<NodeRow>, address: IpAddress): ReadonlyArray<string> =>
  rows.filter(({ anycast, cidrs, truncated }) =>
    truncated || anycast.some((it) => {
      const known = parseAddress(it.address)
      return known !== undefined && known.family === address.family && known.value === address.value
    }) || cidrs.some((text) => {
      const cidr = parseCidr(text)
      return !("problem" in cidr) && contains(cidr, address)
    })
  ).map(({ node }) => node)

export interface NodeAnswer {
  readonly node: string
  readonly announced: boolean
  /** The node's own sentence, or why there is none. */
  readonly answer: string
  /** The step that stops it; undefined: none, or it is not known. */
  readonly step: string | undefined
}

/** Of `flock-agent why --json`. */
export const nodeAnswer = ({ answer, node }: Answer<unknown>): NodeAnswer => {
  if (Result.isFailure(answer)) return { node, announced: false, answer: answer.failure.message, step: undefined }
  const report = record(answer.success)
  const steps = records(report["steps"])
  const stopped = steps.find(({ ok }) => ok === false)
  return {
    node,
    announced: report["announced"] === true,
    answer: String(report["answer"] ?? ""),
    step: stopped === undefined ? undefined : `${String(stopped["step"])}: ${String(stopped["detail"])}`
  }
}

/** The answer first, then what stops each of the others. */
export const whyLines = (address: string, answers: ReadonlyArray<NodeAnswer>): ReadonlyArray<string> => {
  const announcing = answers.filter(({ announced }) => announced)
  const others = answers.filter(({ announced }) => !announced)
  const head = answers.length === 0
    ? `${address} is in no node's prefixes, and no pod has it.`
    : announcing.length === 0
    ? `${address} is announced by no node.`
    : `${address} is announced by ${namesOf(announcing.map(({ node }) => node))}.`
  return [
    head,
    ...(others.length === 0 ? [] : [
      "",
      ...others.map(({ answer, node, step }) => `  ${node}: ${step ?? answer}`)
    ])
  ]
}
