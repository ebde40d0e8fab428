/** The prefixes that the node announces as a whole, as BIRD's static protocols. Pure. */
import { type Cidr, type Family, formatCidr } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { advertised } from "../domain/summaries.ts"
import { block } from "./block.ts"

/** By protocol. Those of `static` lead nowhere in the kernel too, so that nothing loops; `advertise` BIRD has alone. */
const prefixes = (
  spec: NodeConfigSpec,
  family: Family
): Readonly<Record<"static" | "advertise", ReadonlyArray<Cidr>>> => {
  const { others, ours } = advertised(spec)
  const own = family === 6 ? spec.cidr6 : spec.cidr4
  return {
    static: [...(own === undefined ? [] : [own]), ...ours.filter((cidr) => cidr.family === family)],
    advertise: others.filter((cidr) => cidr.family === family)
  }
}

const NAMES = ["static", "advertise"] as const

/** Names of those that there are. */
export const staticProtocols = (spec: NodeConfigSpec, family: Family): ReadonlyArray<string> =>
  NAMES.filter((name) => prefixes(spec, family)[name].length > 0).map((name) => `${name}${family}`)

/** Names of those that are not for the kernel. */
export const announcedOnly = (spec: NodeConfigSpec | undefined, family: Family): ReadonlyArray<string> =>
  spec === undefined ? [] : staticProtocols(spec, family).filter((name) => name.startsWith("advertise"))

export const staticBlocks = (spec: NodeConfigSpec, family: Family): ReadonlyArray<string> =>
  NAMES.flatMap((name) => {
    const routes = prefixes(spec, family)[name].map((cidr) => `route ${formatCidr(cidr)} unreachable;`)
    return routes.length === 0 ? [] : ["", ...block(`protocol static ${name}${family}`, [`ipv${family};`, ...routes])]
  })
