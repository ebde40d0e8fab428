/** One step of the walk. */
export interface Step {
  readonly step: StepName
  /** `skipped`: not applicable, or pointless because an earlier step failed. */
  readonly ok: boolean | "skipped"
  readonly detail: string
}

/** In the order in which they are walked. */
export type StepName =
  | "address"
  | "config"
  | "allocated"
  | "allowed"
  | "family"
  | "ready"
  | "deleting"
  | "link"
  | "pod-route"
  | "kernel-route"
  | "export-set"
  | "bird"
  | "session"
  | "announced"

export const passed = (step: StepName, detail: string): Step => ({ step, ok: true, detail })
export const failed = (step: StepName, detail: string): Step => ({ step, ok: false, detail })
export const skipped = (step: StepName, detail: string): Step => ({ step, ok: "skipped", detail })
export const check = (ok: boolean, step: StepName, detail: string): Step => ({ step, ok, detail })
