/** What a notification of the kernel makes suspect. Pure. */
import { linkDiffers } from "../netlink/hostLinkItems.ts"
import { type HostChange, LINK_NAME } from "../netlink/Netlink.ts"
import { type State, type Suspects, withLink } from "./attachmentsState.ts"

const suspect = (
  state: State,
  more: Partial<Omit<Suspects, "links">> & { readonly link?: string | undefined }
): State => {
  const { suspects } = state
  const { all = false, link, node = false } = more
  const isNews = (all && !suspects.all) || (node && !suspects.node) || (link !== undefined && !suspects.links.has(link))
  return !isNews ? state : {
    ...state,
    suspects: {
      all: suspects.all || all,
      node: suspects.node || node,
      links: link === undefined ? suspects.links : new Set([...suspects.links, link])
    }
  }
}

const withoutLink = (state: State, name: string, ifIndex: number): State => {
  if (state.byIndex.get(ifIndex) !== name) return state
  const links = new Map(state.links)
  const byIndex = new Map(state.byIndex)
  links.delete(name)
  byIndex.delete(ifIndex)
  return { ...state, links, byIndex }
}

/** The committed ones among the links of that index. */
const wantedAt = (state: State, ifIndex: number): string | undefined => {
  const name = state.byIndex.get(ifIndex)
  return name !== undefined && state.wanted.has(name) ? name : undefined
}

const onChange = (state: State, change: HostChange): State => {
  switch (change._tag) {
    case "HostLink": {
      const { link, settled } = change
      if (!LINK_NAME.test(link.ifName)) {
        // Renamed, if it is one of ours at all.
        return state.byIndex.has(link.ifIndex) ? suspect(state, { all: true }) : state
      }
      const next = withLink(state, link.ifName, link)
      const wanted = state.wanted.get(link.ifName)
      if (wanted === undefined) return next
      return suspect(next, {
        node: !settled,
        link: linkDiffers(wanted.plan, link) ? link.ifName : undefined
      })
    }
    case "LinkGone": {
      const next = withoutLink(state, change.ifName, change.ifIndex)
      return state.wanted.has(change.ifName) ? suspect(next, { link: change.ifName }) : next
    }
    case "Route": {
      const { destination: { base, family }, gone, ifIndex } = change
      const next = suspect(state, { link: state.byAddress.get(`${family}/${base}`) })
      return gone ? suspect(next, { link: wantedAt(state, ifIndex) }) : next
    }
    case "Address": {
      const { added, address, ifIndex } = change
      // A pod's own that the node has got too, or has no more; one that a host end has lost.
      const next = suspect(state, { link: state.byAddress.get(`${address.family}/${address.value}`) })
      return added ? next : suspect(next, { link: wantedAt(state, ifIndex) })
    }
    case "Neighbour":
      return suspect(state, { link: wantedAt(state, change.ifIndex) })
    case "Setting":
      return change.ifIndex === -1 || wantedAt(state, change.ifIndex) !== undefined
        ? suspect(state, { node: true })
        : state
    case "OtherLink":
    case "GatewayGone":
      return suspect(state, { node: true })
    case "Overrun":
      return suspect(state, { all: true, node: true })
  }
}

export const changed = (state: State, changes: ReadonlyArray<HostChange>): State => changes.reduce(onChange, state)

export const everythingSuspect = (state: State): State => suspect(state, { all: true, node: true })
