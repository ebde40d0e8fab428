/** Which template a node follows. Pure. */
import type { LabelSelector, NodeConfigTemplate } from "../domain/NodeConfigTemplate.ts"

type Labels = Readonly<Record<string, string>>

/** A key such as `constructor` is a label only where it is one. */
const valueOf = (labels: Labels, key: string): string | undefined =>
  Object.hasOwn(labels, key) ? labels[key] : undefined

/** As the API server evaluates a meta/v1 LabelSelector; `{}` fits everything. */
export const fits = ({ matchExpressions, matchLabels }: LabelSelector, labels: Labels): boolean =>
  Object.entries(matchLabels).every(([key, value]) => valueOf(labels, key) === value) &&
  matchExpressions.every(({ key, operator, values }) => {
    const value = valueOf(labels, key)
    switch (operator) {
      case "In":
        return value !== undefined && values.includes(value)
      // A label that is not there has none of the values.
      case "NotIn":
        return value === undefined || !values.includes(value)
      case "Exists":
        return value !== undefined
      case "DoesNotExist":
        return value === undefined
    }
  })

export type Choice =
  | { readonly _tag: "None" }
  | { readonly _tag: "One"; readonly template: NodeConfigTemplate }
  /** Several fit with the same priority: none of them is followed. */
  | { readonly _tag: "Tie"; readonly templates: ReadonlyArray<NodeConfigTemplate> }

export const choose = (templates: ReadonlyArray<NodeConfigTemplate>, labels: Labels): Choice => {
  const fitting = templates.filter(({ spec }) => fits(spec.nodeSelector, labels))
  const highest = Math.max(...fitting.map(({ spec }) => spec.priority))
  const best = fitting.filter(({ spec }) => spec.priority === highest).toSorted((a, b) => a.name < b.name ? -1 : 1)
  const [template] = best
  return template === undefined
    ? { _tag: "None" }
    : best.length === 1
    ? { _tag: "One", template }
    : { _tag: "Tie", templates: best }
}

export const tieInWords = (templates: ReadonlyArray<NodeConfigTemplate>): string => {
  const names = templates.map(({ name }) => name)
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)} fit this node with the same priority, ${
    templates[0]?.spec.priority
  }: give one of them a higher one, or selectors that do not overlap`
}
