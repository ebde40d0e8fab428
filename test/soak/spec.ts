/** A node's NodeConfig, and the edits that leave its pods as they are. Pure. */
import type { Edit } from "./plan.ts"

export interface Spec {
  readonly mtu?: number
  readonly defaults?: { readonly ipv4?: boolean; readonly ipAlgo?: ReadonlyArray<string> }
  readonly bgp?: { readonly peers: ReadonlyArray<{ readonly communities?: ReadonlyArray<string> }> }
  readonly [field: string]: unknown
}

/** With another community on every prefix, or without it. */
const withCommunities = ({ bgp, ...spec }: Spec): Spec => ({
  ...spec,
  ...bgp && {
    bgp: {
      ...bgp,
      peers: bgp.peers.map(({ communities, ...peer }) => communities ? peer : { ...peer, communities: ["65001:100"] })
    }
  }
})

/** `invalid` and `same` change nothing that is in force. */
export const edited = (spec: Spec, edit: Edit): Spec => {
  const { ipAlgo, ...others } = spec.defaults ?? {}
  switch (edit) {
    case "mtu":
      return { ...spec, mtu: spec.mtu === 1400 ? 1500 : 1400 }
    case "ipAlgo":
      return { ...spec, defaults: ipAlgo === undefined ? { ...others, ipAlgo: ["namespace", "pod"] } : others }
    case "ipv4":
      return { ...spec, defaults: { ...spec.defaults, ipv4: others.ipv4 === false } }
    case "communities":
      return withCommunities(spec)
    case "invalid":
    case "same":
      return spec
  }
}
