/** A folder of sysctls belongs to the namespace that it was opened in, wherever its user is. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { closeSync, writeSync } from "node:fs"
import { Namespaces, readSysctl, SysctlFolder } from "../../src/netlink/namespace.ts"
import { scopedWorld } from "./lab.ts"

const NAME = "ipv6/conf/lo/accept_ra"

it.live("reads and writes those of another namespace without going there", () =>
  Effect.gen(function*() {
    const world = yield* scopedWorld
    const namespaces = new Namespaces(`/run/netns/${world.netns("node")}`)
    const there = () => namespaces.visit(namespaces.host, () => readSysctl(NAME))
    const here = readSysctl(NAME)
    const conf = namespaces.visit(namespaces.host, () => new SysctlFolder("ipv6/conf"))
    for (const value of ["0", "2", "1"]) {
      conf.write("lo/accept_ra", value)
      assert.deepStrictEqual([conf.read("lo/accept_ra"), there(), readSysctl(NAME)], [value, value, here])
    }
    const fd = conf.open("lo/accept_ra")
    writeSync(fd, "2")
    closeSync(fd)
    assert.strictEqual(there(), "2")
    assert.include(conf.list("lo"), "accept_ra")
    assert.deepStrictEqual(conf.list("none"), [])
    assert.isUndefined(conf.read("lo/none"))
    assert.throws(() => conf.write("none/accept_ra", "0"), /^openat: ENOENT$/)
    conf.close()
    namespaces.close()
  }).pipe(Effect.scoped))

it.live("a new namespace goes with its descriptor, and the thread is home at once", () =>
  Effect.sync(() => {
    const namespaces = new Namespaces()
    const before = readSysctl(NAME)
    const made = namespaces.create()
    assert.notStrictEqual(made.identity, namespaces.host.identity)
    const conf = namespaces.visit(made, () => new SysctlFolder("ipv6/conf"))
    conf.write("lo/accept_ra", before === "0" ? "1" : "0")
    conf.close()
    assert.strictEqual(readSysctl(NAME), before)
    closeSync(made.fd)
    namespaces.close()
    assert.throws(() => namespaces.create(), /EBADF/)
  }))
