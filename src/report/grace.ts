/**
 * How long the node is given before lost sessions are said of the Node. `NetworkUnavailable` makes MetalLB withdraw its
 * Services from the node, while routers keep flock's routes through a restart of BIRD (RFC 4724, graceful restart). Pure.
 */

/** Longer than a DaemonSet's pod takes to be replaced; shorter than kube-controller-manager takes to give up a silent node (40 to 50 s). */
export const GRACE_MILLIS = 30_000

export interface Reach {
  /** Whether all was well once: a node that comes up is given no time. */
  readonly reached: boolean
  /** When it was cut off, in milliseconds of a clock that nobody sets; undefined while it is not. */
  readonly since: number | undefined
}

/** `reached`: an agent before this one served pods. */
export const initial = (reached: boolean): Reach => ({ reached, since: undefined })

export const step = (
  reach: Reach,
  seen: { readonly well: boolean; readonly cutOff: boolean },
  now: number
): Reach => ({
  reached: reach.reached || seen.well,
  since: seen.cutOff ? reach.since ?? now : undefined
})

/** Milliseconds of grace that are left; 0: none, or none needed. */
export const left = ({ reached, since }: Reach, now: number): number =>
  reached && since !== undefined ? Math.max(0, since + GRACE_MILLIS - now) : 0
