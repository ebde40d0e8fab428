import { assert, describe, it } from "@effect/vitest"
import { conflist, networksBefore, otherNetworks } from "../../../src/install/conflist.ts"

describe("the conflist", () => {
  it("chains portmap only where it exists", () => {
    assert.deepStrictEqual(JSON.parse(conflist({ portmap: false })), {
      cniVersion: "1.0.0",
      name: "flock",
      plugins: [{ type: "flock" }]
    })
    assert.deepStrictEqual(JSON.parse(conflist({ portmap: true })).plugins, [
      { type: "flock" },
      { type: "portmap", capabilities: { portMappings: true } }
    ])
  })

  it("knows what libcni loads, and what it takes before ours", () => {
    const names = ["99-loopback.conf", "10-calico.conflist", "00-multus.conf", "01-flock.conflist", "calico-kubeconfig"]
    assert.deepStrictEqual(otherNetworks(names), ["00-multus.conf", "10-calico.conflist", "99-loopback.conf"])
    assert.deepStrictEqual(networksBefore(names), ["00-multus.conf"])
    assert.deepStrictEqual(networksBefore(["01-Flock.conflist", "01-flock.conf", "01-flock.json"]), [
      "01-Flock.conflist",
      "01-flock.conf"
    ])
    assert.deepStrictEqual(otherNetworks(["10-calico.conflist.flock-kept", ".tmp.flock-tmp", "README"]), [])
  })
})
