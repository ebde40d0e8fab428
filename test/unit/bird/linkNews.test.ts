import { assert, describe, it } from "@effect/vitest"
import { linkNews, type Links } from "../../../src/bird/linkNews.ts"
import type { LinkChange } from "../../../src/netlink/Netlink.ts"

const link = (change: Partial<Extract<LinkChange, { readonly _tag: "LinkChanged" }>> = {}): LinkChange => ({
  _tag: "LinkChanged",
  ifIndex: 2,
  ifName: "eth0",
  up: true,
  carrier: true,
  ...change
})
const gone = (ifIndex: number): LinkChange => ({ _tag: "LinkRemoved", ifIndex, ifName: "eth0" })

const news = (...changes: ReadonlyArray<LinkChange>): ReadonlyArray<boolean> => {
  let links: Links = new Map()
  return changes.map((change) => {
    const next = linkNews(links, change)
    links = next.links
    return next.news
  })
}

describe("linkNews", () => {
  it("is a link that is made, set down and up, that loses its carrier, is renamed, removed and made anew", () => {
    const down = link({ up: false, carrier: false })
    const all = [link(), down, link(), link({ carrier: false }), link({ ifName: "up0" }), gone(2), link()]
    assert.deepStrictEqual(news(...all), all.map(() => true))
  })
  it("is not what repeats the last one, of that link", () => {
    assert.deepStrictEqual(news(link(), link(), link({ ifIndex: 3 }), link(), link({ ifIndex: 3 })), [
      true,
      false,
      true,
      false,
      false
    ])
  })
  it("is not the end of a link that was never heard of, but what was lost", () => {
    assert.deepStrictEqual(news(gone(7), link(), { _tag: "Overrun" }, link()), [false, true, true, true])
  })
})
