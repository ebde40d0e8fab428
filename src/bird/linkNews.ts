/** Which of the kernel's link messages tell something about an uplink: most repeat what was known. Pure. */
import type { LinkChange } from "../netlink/Netlink.ts"

/** By interface index. */
export type Links = ReadonlyMap<number, string>

/** `news`: a link was made, renamed, set up or down, found or lost its carrier, or is gone; or that is not known. */
export const linkNews = (
  known: Links,
  change: LinkChange
): { readonly links: Links; readonly news: boolean } => {
  if (change._tag === "Overrun") return { links: new Map(), news: true }
  if (change._tag === "LinkRemoved") {
    if (!known.has(change.ifIndex)) return { links: known, news: false }
    return { links: new Map([...known].filter(([ifIndex]) => ifIndex !== change.ifIndex)), news: true }
  }
  const { carrier, ifIndex, ifName, up } = change
  const text = `${ifName} ${up} ${carrier}`
  if (known.get(ifIndex) === text) return { links: known, news: false }
  return { links: new Map(known).set(ifIndex, text), news: true }
}
