/** Reads the reply to `show protocols all`, as BIRD 2.0.12, 2.17 and 3.x print it. */
import type { PeerStatus } from "./birdStatus.ts"
import type { Reply } from "./reply.ts"

const HEAD = /^(\S+)\s+BGP\s+\S+\s+(up|down|start|stop|flush)\s+(.*?)(?:\s{2,}(.*))?$/
const FIELD = /^\s+(BGP state|Neighbor address|Neighbor AS|Source address|Last error):\s+(.*?)\s*$/
const CHANNEL = /^\s+Channel (\S+)$/
const ROUTES = /^\s+Routes:\s+(\d+) imported,.*?(\d+) exported/

interface Draft {
  protocol: string
  since: string
  state: string
  address: string
  asn: number
  localAddress: string | undefined
  lastError: string
  channel: string
  readonly counts: Record<string, { readonly announced: number; readonly learned: number }>
}

const NONE = { announced: 0, learned: 0 }

/** Every BGP protocol in the reply; other protocols are passed over. */
export const parseProtocols = (reply: Reply): ReadonlyArray<PeerStatus> => {
  const drafts: Array<Draft> = []
  let draft: Draft | undefined
  for (const { code, text } of reply.lines) {
    if (code === 1002) {
      const head = HEAD.exec(text)
      draft = undefined
      if (head !== null) {
        const [, protocol = "", , since = ""] = head
        draft = {
          protocol,
          since,
          state: "Down",
          address: "",
          asn: 0,
          localAddress: undefined,
          lastError: "",
          channel: "",
          counts: {}
        }
        drafts.push(draft)
      }
    } else if (code === 1006 && draft !== undefined) {
      const [, field, value = ""] = FIELD.exec(` ${text}`) ?? []
      const channel = CHANNEL.exec(` ${text}`)?.[1]
      const routes = ROUTES.exec(` ${text}`)
      if (field === "BGP state") draft.state = value
      // A scope (`%eth0`) or `onlink` may follow; only a link-local address means nothing without its scope.
      else if (field === "Neighbor address") draft.address = /^(fe[89ab].:\S+|[0-9a-f.:]+)/i.exec(value)?.[0] ?? ""
      else if (field === "Neighbor AS") draft.asn = Number(value)
      else if (field === "Source address") draft.localAddress = value
      else if (field === "Last error") draft.lastError = value
      else if (channel !== undefined) draft.channel = channel
      else if (routes !== null) {
        draft.counts[draft.channel] = { announced: Number(routes[2]), learned: Number(routes[1]) }
      }
    }
  }
  return drafts.map(({ address, asn, counts, lastError, localAddress, protocol, since, state }) => ({
    address,
    asn,
    ...(localAddress === undefined ? {} : { localAddress }),
    protocol,
    state,
    since,
    lastError,
    ipv6: counts["ipv6"] ?? NONE,
    ipv4: counts["ipv4"] ?? NONE
  }))
}
