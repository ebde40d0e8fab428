import { assert, describe, it } from "@effect/vitest"
import { addResult, prevResultProblems } from "../../../src/cni/result.ts"
import { address } from "../../../src/domain/Ip.ts"
import { addresses, addresses6, allocation } from "../fixtures.ts"

const link = { hostIfIndex: 7, hostMac: "ee:ee:ee:ee:ee:ee", podMac: "02:00:00:00:00:01" }
const given = allocation({ addresses: addresses({ anycast: [address("192.0.2.1")] }) })

describe("ADD result", () => {
  it("1.1.0: interfaces with their MTU, addresses as hosts, default routes, nothing of lo", () => {
    assert.deepStrictEqual(addResult("1.1.0", given, link), {
      cniVersion: "1.1.0",
      interfaces: [
        { name: "flock00000001", mac: "ee:ee:ee:ee:ee:ee", mtu: 1500 },
        { name: "eth0", mac: "02:00:00:00:00:01", mtu: 1500, sandbox: "/run/netns/c1" }
      ],
      ips: [
        { interface: 1, address: "2001:db8:1::a/128", gateway: "fe80::1" },
        { interface: 1, address: "10.42.1.2/32", gateway: "10.42.1.1" }
      ],
      routes: [{ dst: "::/0", gw: "fe80::1" }, { dst: "0.0.0.0/0", gw: "10.42.1.1" }],
      dns: {}
    })
  })

  it.each(["0.3.0", "0.3.1", "0.4.0"] as const)("%s: each address names its family, no MTU", (version) => {
    const result = addResult(version, given, link) as { readonly ips: ReadonlyArray<{ readonly version?: string }> }
    assert.deepStrictEqual(result.ips.map((ip) => ip.version), ["6", "4"])
    assert.notInclude(JSON.stringify(result), "mtu")
  })

  it("1.0.0: neither", () => {
    const text = JSON.stringify(addResult("1.0.0", given, link))
    assert.notInclude(text, "mtu")
    assert.notInclude(text, "\"version\"")
  })

  it("keeps what earlier plugins did, and counts interfaces on", () => {
    const before = {
      interfaces: [{ name: "other0" }],
      ips: [{ address: "198.51.100.2/24", interface: 0 }],
      routes: [{ dst: "198.51.100.0/24" }],
      dns: { nameservers: ["198.51.100.53"] }
    }
    const result = addResult("1.0.0", allocation(), link, before) as typeof before
    assert.deepStrictEqual(result.interfaces.map((i) => i.name), ["other0", "flock00000001", "eth0"])
    assert.deepStrictEqual(result.ips.map((ip) => ip.interface), [0, 2, 2])
    assert.deepStrictEqual(result.routes[0], { dst: "198.51.100.0/24" })
    assert.deepStrictEqual(result.dns, before.dns)
  })

  it("of one family names only that", () => {
    const six = allocation({ addresses: addresses6() })
    const result = addResult("1.0.0", six, link) as { readonly ips: ReadonlyArray<unknown>; readonly routes: unknown }
    assert.strictEqual(result.ips.length, 1)
    assert.deepStrictEqual(result.routes, [{ dst: "::/0", gw: "fe80::1" }])
  })
})

describe("CHECK against prevResult", () => {
  const result = addResult("1.0.0", given, link)
  it("accepts its own result, also after a chained plugin added to it", () => {
    assert.deepStrictEqual(prevResultProblems(given, result), [])
    const more = { ...result, interfaces: [...result["interfaces"] as Array<unknown>, { name: "extra0" }] }
    assert.deepStrictEqual(prevResultProblems(given, more), [])
  })
  it("names what is missing", () => {
    assert.match(prevResultProblems(given, {})[0] ?? "", /no interface eth0/)
    const other = allocation({ addresses: addresses({ ipv4: address("10.42.1.9") }) })
    assert.deepStrictEqual(prevResultProblems(other, result), ["prevResult does not list 10.42.1.9/32 on eth0"])
  })
})
