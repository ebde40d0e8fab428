import { assert, describe, it } from "@effect/vitest"
import {
  allocated,
  everyInside,
  initial,
  nextDue,
  type State,
  takeInside,
  unreachable,
  withInside
} from "../../../src/attachments/attachmentsState.ts"
import { changed } from "../../../src/attachments/suspects.ts"
import { aliasOf } from "../../../src/domain/Allocation.ts"
import { HOST_MAC, type HostChange, type PodInside } from "../../../src/netlink/Netlink.ts"
import { allocation, linkOf } from "../anycast/fakes.ts"

const ONE = allocation(1, { anycast: ["2001:db8:a::1"] })
const LINK = linkOf(1)

const told = (more: { readonly carrier?: boolean } = {}): HostChange => ({
  _tag: "HostLink",
  link: {
    ifName: LINK,
    ifIndex: 101,
    up: true,
    carrier: true,
    mtu: 1500,
    mac: HOST_MAC,
    alias: aliasOf(ONE),
    master: undefined,
    arp: true,
    multicast: true,
    ipv6Disabled: false,
    ...more
  },
  settled: true
})

const start = allocated(changed(initial, [told()]), [ONE])
const announced = () => true
const differs = (partly: boolean): PodInside => ({
  _tag: "Differs",
  cuts: [6],
  addresses: [],
  words: "it has no IPv6 default route",
  partly
})

/** Looks into what is to be looked into, and finds this. */
const look = (state: State, found: PodInside, now: number, is = announced): State => {
  const [targets, taken] = takeInside(state, is, now)
  return targets.reduce((next, { plan }) => withInside(next, plan.hostIfName, plan, found, now), taken)
}
const tick = (state: State, found: PodInside, now: number, is = announced) => look(everyInside(state), found, now, is)
const hole = (state: State) => unreachable(state).get(LINK)?._tag
const targets = (state: State, now: number, is = announced) => takeInside(state, is, now)[0].length

describe("a pod that has changed its own network", () => {
  it("is a hole where some of its addresses are left, and where all were there before", () => {
    assert.strictEqual(hole(tick(start, differs(true), 0)), "Broken")
    assert.isUndefined(hole(tick(start, differs(false), 0)))
    assert.strictEqual(hole(tick(tick(start, { _tag: "AsMade" }, 0), differs(false), 15_000)), "Broken")
  })

  it("is none where somebody else has the link, whatever was before", () => {
    const good = tick(start, { _tag: "AsMade" }, 0)
    assert.isUndefined(hole(tick(good, { _tag: "Others" }, 15_000)))
    assert.isUndefined(hole(tick(tick(good, differs(true), 15_000), { _tag: "Others" }, 30_000)))
  })

  it("is looked into when its link has carrier again, and not while it has none", () => {
    const down = changed(start, [told({ carrier: false })])
    assert.strictEqual(targets(everyInside(down), 0), 0)
    assert.strictEqual(hole(down), "LinkDown")
    const up = changed(down, [told()])
    assert.strictEqual(targets(up, 0), 1)
    assert.strictEqual(hole(look(up, differs(true), 0)), "Broken")
    assert.isUndefined(hole(look(up, { _tag: "AsMade" }, 0)))
  })

  it("is not looked into before it is announced, and then for good", () => {
    assert.strictEqual(targets(everyInside(start), 0, () => false), 0)
    const known = tick(start, differs(true), 0)
    assert.strictEqual(targets(everyInside(known), 0, () => false), 1)
  })

  it("is looked into again soon, then more rarely, until it is as it was made", () => {
    let state = tick(start, differs(true), 0)
    const waits: Array<number> = []
    for (let now = 0, i = 0; i < 7; i++) {
      const due = nextDue(state, now) ?? NaN
      assert.strictEqual(targets(state, due - 1), 0)
      waits.push(due - now)
      now = due
      state = look(state, differs(true), now)
    }
    assert.deepStrictEqual(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000])
    const mended = tick(state, { _tag: "AsMade" }, 60_000)
    assert.isUndefined(nextDue(mended, 60_000))
    assert.isUndefined(hole(mended))
  })

  it("is forgotten with its attachment, and the next of that link begins anew", () => {
    const broken = tick(tick(start, { _tag: "AsMade" }, 0), differs(false), 15_000)
    const next = allocated(broken, [{ ...ONE, containerId: "other" }])
    assert.isUndefined(hole(next))
    assert.isUndefined(hole(tick(next, differs(false), 30_000)))
  })

  it("is what the host lacks first", () => {
    const both: State = {
      ...tick(start, differs(true), 0),
      problems: new Map([[LINK, { hostIfName: LINK, words: "host route is missing", cuts: [4] }]])
    }
    assert.strictEqual(hole(both), "Cut")
  })
})
