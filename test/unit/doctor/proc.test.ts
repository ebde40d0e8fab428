import { assert, describe, it } from "@effect/vitest"
import { parseNeighbourCount, parseRoutes4, parseRoutes6, unixInodes } from "../../../src/doctor/proc.ts"

describe("readers of /proc/net", () => {
  it("reads routes of both families", () => {
    const route = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
cali12345678\t05012A0A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
`
    assert.deepStrictEqual(parseRoutes4(route), [
      { ifName: "eth0", destination: "0.0.0.0/0", metric: 100 },
      { ifName: "cali12345678", destination: "10.42.1.5/32", metric: 0 },
      { ifName: "eth0", destination: "192.0.2.0/24", metric: 0 }
    ])
    const zero = "00000000000000000000000000000000"
    const route6 = `20010db8000100000000000000000005 80 ${zero} 00 ${zero} 00000400 00000001 00000000 00000001  cali1
${zero} 00 ${zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0
`
    assert.deepStrictEqual(parseRoutes6(route6), [
      { ifName: "cali1", destination: "2001:db8:1::5/128", metric: 1024 },
      { ifName: "eth0", destination: "::/0", metric: 1024 }
    ])
    assert.deepStrictEqual([parseRoutes4(""), parseRoutes6("")], [[], []])
  })

  it("counts neighbours", () => {
    const stat = `entries  allocs   destroys hash_grows lookups  hits
0000002a  0000002a 00000000 00000000 00000000 00000000
0000002a  00000000 00000000 00000000 00000000 00000000
`
    assert.strictEqual(parseNeighbourCount(stat), 42)
    assert.strictEqual(parseNeighbourCount(""), 0)
  })
})

describe("/proc/net/unix", () => {
  it("gives the sockets that are bound to a path, and no others", () => {
    const text = [
      "Num       RefCount Protocol Flags    Type St Inode Path",
      "0000000000000000: 00000002 00000000 00010000 0001 01 36413 /run/flock/bird/bird.ctl",
      "0000000000000000: 00000003 00000000 00000000 0001 03 36999 /run/flock/bird/bird.ctl",
      "0000000000000000: 00000002 00000000 00010000 0001 01 36414 /run/bird/bird.ctl",
      "0000000000000000: 00000003 00000000 00000000 0001 03 36415"
    ].join("\n")
    assert.deepStrictEqual(unixInodes(text, "/run/flock/bird/bird.ctl"), ["36413", "36999"])
  })
})
