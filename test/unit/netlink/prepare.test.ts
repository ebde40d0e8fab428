import { assert, describe, it } from "@effect/vitest"
import { plan } from "../../../src/netlink/prepare.ts"

/** What would be set, in order. */
const settings = (sysctls: Record<string, string>, uplinks: ReadonlyArray<string> = []) => {
  const ipv4 = [...new Set(Object.keys(sysctls).flatMap((name) => /^ipv4\/conf\/([^/]+)\//.exec(name)?.[1] ?? []))]
  return plan((name) => sysctls[name], { ipv4, uplinks }).map(({ name, value }) => `${name}=${value}`)
}

describe("preparing the host", () => {
  it("accept_ra goes before forwarding, only from 1, and only of uplinks by name", () => {
    assert.deepStrictEqual(
      settings({
        "ipv6/conf/all/forwarding": "0",
        "ipv6/conf/all/accept_ra": "1",
        "ipv6/conf/default/accept_ra": "1",
        "ipv6/conf/flock0a1b2c3d/accept_ra": "1",
        "ipv6/conf/up0/accept_ra": "1",
        "ipv6/conf/up1/accept_ra": "0",
        "ipv6/conf/up2/accept_ra": "2"
      }, ["up0", "up1", "up2"]),
      ["ipv6/conf/up0/accept_ra=2", "ipv6/conf/all/forwarding=1"]
    )
  })

  it("nothing to do on a node that is a router, nor for a family that the kernel lacks", () => {
    assert.deepStrictEqual(
      settings({ "ipv4/ip_forward": "1", "ipv4/fib_multipath_hash_policy": "1", "ipv4/conf/all/rp_filter": "0" }),
      []
    )
  })

  for (const key of ["rp_filter", "send_redirects", "arp_ignore"]) {
    it(`what ${key} demands of all links stays with all but pods' links`, () => {
      assert.deepStrictEqual(
        settings({
          [`ipv4/conf/all/${key}`]: "1",
          [`ipv4/conf/default/${key}`]: "0",
          [`ipv4/conf/up0/${key}`]: "2",
          [`ipv4/conf/up1/${key}`]: "1",
          [`ipv4/conf/flock0a1b2c3d/${key}`]: "2"
        }),
        [`ipv4/conf/default/${key}=1`, `ipv4/conf/all/${key}=0`]
      )
    })
  }
})
