import { assert, describe, it } from "@effect/vitest"
import { plan } from "../../../src/netlink/prepare.ts"

const settings = (sysctls: Record<string, string>) => {
  const names = (tree: string) => [
    ...new Set(Object.keys(sysctls).flatMap((name) => new RegExp(`^${tree}/conf/([^/]+)/`).exec(name)?.[1] ?? []))
  ]
  return plan((name) => sysctls[name], { ipv4: names("ipv4"), ipv6: names("ipv6") })
    .map(({ name, value }) => `${name}=${value}`)
}

describe("preparing the host", () => {
  it("accept_ra goes before forwarding, and only from 1", () => {
    assert.deepStrictEqual(
      settings({
        "ipv6/conf/all/forwarding": "0",
        "ipv6/conf/all/accept_ra": "1",
        "ipv6/conf/up0/accept_ra": "1",
        "ipv6/conf/up1/accept_ra": "0",
        "ipv6/conf/up2/accept_ra": "2"
      }),
      ["ipv6/conf/all/accept_ra=2", "ipv6/conf/up0/accept_ra=2", "ipv6/conf/all/forwarding=1"]
    )
  })

  it("nothing to do on a node that is a router, nor for a family that the kernel lacks", () => {
    assert.deepStrictEqual(
      settings({ "ipv4/ip_forward": "1", "ipv4/fib_multipath_hash_policy": "1", "ipv4/conf/all/rp_filter": "0" }),
      []
    )
  })

  it("what rp_filter demands of all links stays with all but pods' links", () => {
    assert.deepStrictEqual(
      settings({
        "ipv4/conf/all/rp_filter": "1",
        "ipv4/conf/default/rp_filter": "0",
        "ipv4/conf/up0/rp_filter": "2",
        "ipv4/conf/up1/rp_filter": "1",
        "ipv4/conf/flock0a1b2c3d/rp_filter": "2"
      }),
      ["ipv4/conf/default/rp_filter=1", "ipv4/conf/flock0a1b2c3d/rp_filter=0", "ipv4/conf/all/rp_filter=0"]
    )
  })
})
