import { Schema } from "effect"

/** In the order in which they are walked. */
export const StepName = Schema.Literals([
  "address",
  "config",
  "allocated",
  "allowed",
  "family",
  "ready",
  "deleting",
  "link",
  "pod-route",
  "kernel-route",
  "export-set",
  "bird",
  "session",
  "announced",
  "router"
])
export type StepName = typeof StepName.Type

/** One step of the walk. */
export const Step = Schema.Struct({
  step: StepName,
  /** `skipped`: not applicable, or pointless because an earlier step failed. */
  ok: Schema.Union([Schema.Boolean, Schema.Literal("skipped")]),
  detail: Schema.String
})
export interface Step extends Schema.Schema.Type<typeof Step> {}

export const passed = (step: StepName, detail: string): Step => ({ step, ok: true, detail })
export const failed = (step: StepName, detail: string): Step => ({ step, ok: false, detail })
export const skipped = (step: StepName, detail: string): Step => ({ step, ok: "skipped", detail })
export const check = (ok: boolean, step: StepName, detail: string): Step => ({ step, ok, detail })
