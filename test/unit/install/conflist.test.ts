import { assert, describe, it } from "@effect/vitest"
import { type FoundPlugin, makeConflist, networksBefore, otherNetworks } from "../../../src/install/conflist.ts"
import { parseVersions } from "../../../src/install/pluginVersions.ts"

const NEW = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
const DEBIAN12 = NEW.slice(0, -1)
const portmap = (versions: ReadonlyArray<string> | undefined): FoundPlugin => ({ type: "portmap", versions })
const bandwidth = (versions: ReadonlyArray<string> | undefined): FoundPlugin => ({ type: "bandwidth", versions })

/** What libcni 1.2 and newer takes (`conf.go`): the highest of both keys that it knows. */
const chosen = (list: { readonly cniVersion: string; readonly cniVersions?: ReadonlyArray<string> }) =>
  [list.cniVersion, ...list.cniVersions ?? []].toSorted().at(-1)

describe("the conflist", () => {
  it("is of the highest version that its plugins support, and readable for runtimes that know none above 1.0.0", () => {
    const cases: ReadonlyArray<readonly [ReadonlyArray<FoundPlugin>, old: string, recent: string, chained: string]> = [
      [[], "1.0.0", "1.1.0", ""],
      [[portmap(NEW)], "1.0.0", "1.1.0", "portmap"],
      [[portmap(NEW), bandwidth(NEW)], "1.0.0", "1.1.0", "portmap bandwidth"],
      [[bandwidth(NEW), portmap(NEW)], "1.0.0", "1.1.0", "portmap bandwidth"],
      [[portmap(DEBIAN12)], "1.0.0", "1.0.0", "portmap"],
      [[portmap(NEW), bandwidth(DEBIAN12)], "1.0.0", "1.0.0", "portmap bandwidth"],
      [[portmap(["0.3.1", "0.4.0"])], "0.4.0", "0.4.0", "portmap"],
      [[portmap(undefined)], "1.0.0", "1.0.0", "portmap"],
      // A later specification is nothing that flock knows.
      [[portmap([...NEW, "1.2.0"])], "1.0.0", "1.1.0", "portmap"],
      [[portmap(["1.1.0"])], "1.1.0", "1.1.0", "portmap"]
    ]
    for (const [found, old, recent, chained] of cases) {
      const list = JSON.parse(makeConflist(found).text)
      const types = list.plugins.map(({ type }: { readonly type: string }) => type)
      assert.deepStrictEqual([list.cniVersion, chosen(list), types.join(" ")], [old, recent, `flock ${chained}`.trim()])
    }
  })

  it("asks for what the plugins are chained for", () => {
    assert.deepStrictEqual(JSON.parse(makeConflist([portmap(NEW), bandwidth(NEW)]).text).plugins, [
      { type: "flock" },
      { type: "portmap", capabilities: { portMappings: true } },
      { type: "bandwidth", capabilities: { bandwidth: true } }
    ])
  })

  it("leaves out what would fail every pod, and says why a version is not the newest", () => {
    const notes = (...found: ReadonlyArray<FoundPlugin>) => makeConflist(found).notes
    assert.deepStrictEqual(notes(portmap(NEW), bandwidth(NEW)), [])
    assert.deepStrictEqual(notes(portmap(DEBIAN12)), [
      "portmap supports no CNI version after 1.0.0: the runtime does not ask for STATUS and GC"
    ])
    assert.deepStrictEqual(notes(bandwidth(undefined)), [
      "bandwidth does not answer VERSION: it is taken to support CNI 1.0.0"
    ])
    assert.deepStrictEqual(notes(portmap(["0.1.0", "0.2.0"])), [
      "portmap is not chained: it supports CNI 0.1.0, 0.2.0, flock 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
    ])
    assert.deepStrictEqual(JSON.parse(makeConflist([portmap(["0.1.0"])]).text).plugins, [{ type: "flock" }])
    const apart = makeConflist([portmap(["0.4.0"]), bandwidth(["1.1.0"])])
    assert.deepStrictEqual(JSON.parse(apart.text).plugins, [{ type: "flock" }])
    assert.include(apart.notes, "portmap and bandwidth share no CNI version: none is chained")
  })

  it("understands a plugin's answer, or says that it is none", () => {
    assert.deepStrictEqual(parseVersions(`{"cniVersion":"1.0.0","supportedVersions":["0.4.0",1,"1.0.0"]}`), [
      "0.4.0",
      "1.0.0"
    ])
    for (const text of ["", "null", "[]", "{}", `{"supportedVersions":"1.0.0"}`, "usage: portmap"]) {
      assert.isUndefined(parseVersions(text))
    }
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
