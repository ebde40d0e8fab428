import { assert, describe, it } from "@effect/vitest"
import { focus, networkTests, NOT_RUN, share, whyNotRun } from "../../conformance/selection.ts"

const LISTING = `The following spec names can be used with 'ginkgo run --focus/skip':
    k8s.io/kubernetes@v1.36.3/test/e2e/network/dns.go:54: [sig-network] DNS should work [Conformance]
    k8s.io/kubernetes@v1.36.3/test/e2e/network/netpol/network_policy.go:5: [sig-network] Netpol a should b [Feature:NetworkPolicy] 
    k8s.io/kubernetes@v1.36.3/test/e2e/apps/x.go:1: [sig-apps] with [sig-network] in it
`

describe("the selection of tests", () => {
  it("is of the network's, by what e2e.test lists", () => {
    const names = [
      "[sig-network] DNS should work [Conformance]",
      "[sig-network] Netpol a should b [Feature:NetworkPolicy]"
    ]
    assert.deepStrictEqual(networkTests(LISTING), names)
    assert.deepStrictEqual(names.map(whyNotRun), [undefined, "flock has no NetworkPolicy"])
  })

  it("leaves out no test of conformance", () => {
    for (const [name, why] of NOT_RUN) {
      assert.isFalse(name.test("[sig-network] Services [LinuxOnly] [NodeConformance] [Conformance]"), String(name))
      assert.isAbove(why.length, 10)
    }
  })

  it("means one test by its focus", () => {
    const name = String.raw`[sig-network] a (b) v1.0 *?+$^|\ {c}: http`
    const pattern = new RegExp(focus(name))
    for (const suffix of ["", " "]) assert.match(`Kubernetes e2e suite ${name}${suffix}`, pattern)
    for (const other of [`${name} [Slow]`, name.replace("1.0", "1x0"), `x${name}`]) {
      assert.notMatch(`Kubernetes e2e suite ${other}`, pattern)
    }
  })

  it("is shared out by how long the tests take", () => {
    const seconds: Record<string, number> = { a: 1, b: 5, c: 3, d: 2 }
    const secondsOf = (name: string) => seconds[name] ?? 0
    assert.deepStrictEqual(share(Object.keys(seconds), 2, secondsOf), [["b", "a"], ["c", "d"]])
    assert.deepStrictEqual(share(["a"], 3, secondsOf), [["a"]])
    assert.deepStrictEqual(share([], 3, secondsOf), [])
  })
})
