import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Schedule, type Scope } from "effect"
import { Command } from "effect/cli"
import { execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { join } from "node:path"
import { installCni } from "../../src/cli/installCni.ts"
import { conflistWhenReady, installConflist, installPlugin, uninstallAll } from "../../src/install/install.ts"

/** A node's folders, empty, and a plugin to install. */
const makeNode = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const root = yield* fs.makeTempDirectoryScoped({ prefix: "flock-install-" })
  const paths = { binDir: join(root, "opt/cni/bin"), confDir: join(root, "etc/cni/net.d") }
  const sysClassNet = join(root, "net")
  for (const folder of [paths.binDir, paths.confDir, sysClassNet]) Fs.mkdirSync(folder, { recursive: true })
  const source = join(root, "plugin")
  Fs.writeFileSync(source, "#!/bin/sh\necho one\n")
  const tree = () =>
    Object.fromEntries(
      [paths.binDir, paths.confDir].flatMap((folder) => Fs.readdirSync(folder).map((name) => join(folder, name)))
        .filter((path) => !path.endsWith(".flock-installed"))
        .map((path) => [path.slice(root.length + 1), Fs.readFileSync(path, "utf8")])
    )
  const remove = (force = false) => uninstallAll(paths, { force, sysClassNet })
  return { root, paths, source, sysClassNet, tree, remove }
})

const scoped = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem | Scope.Scope>) =>
  Effect.scoped(effect).pipe(Effect.provide(NodeServices.layer))

const run = Command.runWith(installCni, { version: "0" })

describe("install-cni", () => {
  it.live("installs, and leaves an empty node as empty as it was", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      yield* installPlugin(node.paths, node.source)
      yield* installConflist(node.paths, { takeover: false })
      assert.strictEqual(Fs.statSync(join(node.paths.binDir, "flock")).mode & 0o777, 0o755)
      assert.deepStrictEqual(Object.keys(node.tree()), ["opt/cni/bin/flock", "etc/cni/net.d/01-flock.conflist"])
      assert.deepStrictEqual((yield* installPlugin(node.paths, node.source)).map((c) => c.action), ["unchanged"])
      yield* node.remove()
      assert.deepStrictEqual([...Fs.readdirSync(node.paths.binDir), ...Fs.readdirSync(node.paths.confDir)], [])
      assert.deepStrictEqual((yield* node.remove()).changes, [])
    })))

  it.live("does not mistake its own older files for somebody else's", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      for (const text of ["one", "two", "one", "three"]) {
        Fs.writeFileSync(node.source, text)
        yield* installPlugin(node.paths, node.source)
      }
      assert.deepStrictEqual(node.tree(), { "opt/cni/bin/flock": "three" })
    })))

  it.live("keeps what it replaces, first and later, and restores the first", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const path = join(node.paths.confDir, "01-flock.conflist")
      Fs.writeFileSync(path, "before flock")
      yield* installConflist(node.paths, { takeover: false })
      Fs.writeFileSync(path, "an operator's edit")
      yield* installConflist(node.paths, { takeover: false })
      assert.include(node.tree(), {
        "etc/cni/net.d/01-flock.conflist.flock-kept": "before flock",
        "etc/cni/net.d/01-flock.conflist.flock-kept-2": "an operator's edit"
      })
      yield* node.remove()
      assert.strictEqual(Fs.readFileSync(path, "utf8"), "before flock")
    })))

  it.live("leaves a file alone that was changed after it was installed", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      yield* installConflist(node.paths, { takeover: false })
      Fs.writeFileSync(join(node.paths.confDir, "01-flock.conflist"), "{}")
      assert.deepStrictEqual((yield* node.remove()).changes.map((c) => c.action), ["left alone"])
      assert.deepStrictEqual(node.tree(), { "etc/cni/net.d/01-flock.conflist": "{}" })
    })))

  it.live("leaves other CNIs' files alone, says which are in front, and moves them only when told", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const others = { "etc/cni/net.d/00-multus.conf": "multus", "etc/cni/net.d/10-calico.conflist": "calico" }
      for (const [path, text] of Object.entries(others)) Fs.writeFileSync(join(node.root, path), text)
      Fs.writeFileSync(join(node.paths.binDir, "portmap"), "")
      const changes = yield* installConflist(node.paths, { takeover: false })
      assert.deepStrictEqual(changes.map((c) => [c.action, c.path.split("/").at(-1)]), [
        ["installed", "01-flock.conflist"],
        ["left alone", "00-multus.conf"]
      ])
      assert.include(node.tree(), others)
      assert.include(node.tree()["etc/cni/net.d/01-flock.conflist"], "portmap")

      yield* installConflist(node.paths, { takeover: true })
      assert.deepStrictEqual(Object.keys(node.tree()).filter((path) => path.startsWith("etc")).toSorted(), [
        "etc/cni/net.d/00-multus.conf.flock-kept",
        "etc/cni/net.d/01-flock.conflist",
        "etc/cni/net.d/10-calico.conflist.flock-kept"
      ])
      Fs.writeFileSync(join(node.root, "etc/cni/net.d/10-calico.conflist"), "calico came back")
      yield* node.remove()
      assert.deepStrictEqual(node.tree(), {
        "opt/cni/bin/portmap": "",
        "etc/cni/net.d/00-multus.conf": "multus",
        "etc/cni/net.d/10-calico.conflist": "calico came back",
        "etc/cni/net.d/10-calico.conflist.flock-kept": "calico"
      })
    })))

  it.live("gives new pods back to another CNI by the conflist alone, where the plugins' folder is read-only or pods are left", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      Fs.writeFileSync(join(node.paths.confDir, "10-old.conflist"), "old")
      yield* installPlugin(node.paths, node.source)
      yield* installConflist(node.paths, { takeover: true })
      const { binDir, confDir } = node.paths
      for (const _ of ["once", "twice"]) {
        const flags = ["--uninstall", "--only", "conflist", "--cni-bin-dir", binDir, "--cni-conf-dir", confDir]
        yield* Effect.provide(run(flags), NodeServices.layer)
        assert.deepStrictEqual(Object.keys(node.tree()), ["opt/cni/bin/flock", "etc/cni/net.d/10-old.conflist"])
      }
    })))

  it.live(
    "asks the plugins to chain for their versions; one that hangs, floods or dies holds nothing up",
    () =>
      scoped(Effect.gen(function*() {
        const node = yield* makeNode
        const plugin = (name: string, script: string) => {
          const path = join(node.paths.binDir, name)
          Fs.writeFileSync(`${path}.new`, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
          Fs.renameSync(`${path}.new`, path)
        }
        const list = () => JSON.parse(node.tree()["etc/cni/net.d/01-flock.conflist"] ?? "{}")
        const details = Effect.map(installConflist(node.paths, { takeover: false }), ([change]) => change?.detail ?? "")

        plugin(
          "portmap",
          `cat >/dev/null; [ $CNI_COMMAND = VERSION ] && echo '{"supportedVersions":["1.0.0","1.1.0"]}'`
        )
        plugin("bandwidth", `echo '{"supportedVersions":["1.0.0","1.1.0"]}'`)
        assert.strictEqual(yield* details, "")
        assert.deepStrictEqual(list().cniVersions, ["1.0.0", "1.1.0"])

        for (const script of ["exit 1", "yes", "kill -9 $$", "echo nonsense", "exec sleep 60"]) {
          plugin("bandwidth", script)
          assert.include(yield* details, "bandwidth does not answer VERSION")
          assert.isUndefined(list().cniVersions)
          assert.strictEqual(list().plugins.length, 3)
        }

        // Debian 12's, with its own answer
        Fs.rmSync(join(node.paths.binDir, "bandwidth"))
        Fs.copyFileSync("/usr/lib/cni/portmap", join(node.paths.binDir, "portmap"))
        assert.include(yield* details, "portmap supports no CNI version after 1.0.0")
        assert.strictEqual(list().cniVersion, "1.0.0")
      })),
    30_000
  )

  it.live("the agent chains a plugin that comes later, and keeps one that goes", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const conflist = join(node.paths.confDir, "01-flock.conflist")
      const types = () => {
        try {
          const list: { readonly plugins: ReadonlyArray<{ readonly type: string }> } = JSON.parse(
            Fs.readFileSync(conflist, "utf8")
          )
          return list.plugins.map(({ type }) => type).join(" ")
        } catch {
          return ""
        }
      }
      const becomes = (expected: string) =>
        Effect.sync(types).pipe(
          Effect.repeat({ until: (seen) => seen === expected, schedule: Schedule.spaced("50 millis") }),
          Effect.timeout("20 seconds")
        )
      yield* Effect.forkScoped(conflistWhenReady(node.paths, { takeover: false, ready: Effect.void }))
      yield* becomes("flock")
      const portmap = join(node.paths.binDir, "portmap")
      Fs.writeFileSync(portmap, `#!/bin/sh\necho '{"supportedVersions":["1.0.0","1.1.0"]}'\n`, { mode: 0o755 })
      yield* becomes("flock portmap")
      const before = Fs.statSync(conflist).mtimeMs
      Fs.rmSync(portmap)
      Fs.writeFileSync(join(node.paths.binDir, "unrelated"), "")
      yield* Effect.sleep("2500 millis")
      assert.strictEqual(Fs.statSync(conflist).mtimeMs, before)
      // A folder that was replaced as a whole is found again.
      Fs.renameSync(node.paths.binDir, `${node.paths.binDir}.old`)
      Fs.mkdirSync(node.paths.binDir)
      Fs.writeFileSync(portmap, `#!/bin/sh\necho '{"supportedVersions":["0.4.0"]}'\n`, { mode: 0o755 })
      yield* Effect.sync(() => Fs.readFileSync(conflist, "utf8")).pipe(
        Effect.repeat({ until: (text) => text.includes(`"0.4.0"`), schedule: Schedule.spaced("100 millis") }),
        Effect.timeout("40 seconds")
      )
    })), 90_000)

  it.live("replaces a plugin that runs", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const target = join(node.paths.binDir, "flock")
      Fs.copyFileSync("/bin/sleep", target)
      const running = spawn(target, ["60"])
      yield* Effect.addFinalizer(() => Effect.sync(() => running.kill("SIGKILL")))
      yield* installPlugin(node.paths, node.source)
      assert.strictEqual(execFileSync(target).toString(), "one\n")
      assert.isNull(running.exitCode)
      assert.isTrue(Fs.readFileSync("/bin/sleep").equals(Fs.readFileSync(`${target}.flock-kept`)))
    })))

  it.live("takes a link to the same plugin as installed, as NixOS makes it", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const target = join(node.paths.binDir, "flock")
      Fs.chmodSync(node.source, 0o555)
      Fs.symlinkSync(node.source, target)
      assert.deepStrictEqual((yield* installPlugin(node.paths, node.source)).map((c) => c.action), ["unchanged"])
      assert.strictEqual(Fs.statSync(target).mode & 0o777, 0o555)
      Fs.chmodSync(node.source, 0o644)
      yield* installPlugin(node.paths, node.source)
      assert.strictEqual(Fs.statSync(target).mode & 0o111, 0o111)
    })))

  it.live("keeps the plugin for pods that still need it to go", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      yield* installPlugin(node.paths, node.source)
      yield* installConflist(node.paths, { takeover: false })
      for (const name of ["flock0a1b2c3d", "eth0", "flock"]) Fs.mkdirSync(join(node.sysClassNet, name))
      assert.deepStrictEqual((yield* node.remove()).stillUsed?.links, ["flock0a1b2c3d"])
      assert.deepStrictEqual(Object.keys(node.tree()), ["opt/cni/bin/flock"])
      assert.isUndefined((yield* node.remove(true)).stillUsed)
      assert.deepStrictEqual(node.tree(), {})
    })))

  it.live("says which folder cannot be written, and leaves no temporary file", () =>
    scoped(Effect.gen(function*() {
      const node = yield* makeNode
      Fs.mkdirSync(join(node.paths.binDir, "flock"))
      const error = yield* Effect.flip(installPlugin(node.paths, node.source))
      assert.include(error.message, join(node.paths.binDir, "flock"))
      assert.deepStrictEqual(Fs.readdirSync(node.paths.binDir), ["flock"])
    })))

  it.live("writes the conflist only after the agent's STATUS is good", () =>
    Effect.scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const socket = join(node.root, "agent.sock")
      const answers = [
        `{"error":{"cniVersion":"1.0.0","code":50,"msg":"no NodeConfig"}}\n`,
        `half a li`,
        `{"result":null}\n`
      ]
      const asked: Array<string> = []
      const server = Net.createServer((connection) => {
        connection.on("data", (chunk) => {
          asked.push(JSON.parse(chunk.toString()).op)
          if (asked.length < 3) assert.notInclude(Fs.readdirSync(node.paths.confDir), "01-flock.conflist")
          connection.end(answers[asked.length - 1] ?? "")
        })
      })
      yield* Effect.callback<void>((resume) => void server.listen(socket, () => resume(Effect.void)))
      yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
      const flags = [
        `--cni-bin-dir=${node.paths.binDir}`,
        `--cni-conf-dir=${node.paths.confDir}`,
        `--plugin=${node.source}`,
        `--socket=${socket}`
      ]
      yield* run([...flags, "--only=plugin"])
      assert.deepStrictEqual([Object.keys(node.tree()), asked], [["opt/cni/bin/flock"], []])
      yield* run(flags)
      assert.deepStrictEqual(asked, ["STATUS", "STATUS", "STATUS"])
      assert.include(Object.keys(node.tree()), "etc/cni/net.d/01-flock.conflist")
    })).pipe(Effect.provide(NodeServices.layer)))

  it.live("says why the agent was not ready", () =>
    Effect.scoped(Effect.gen(function*() {
      const node = yield* makeNode
      const error = yield* Effect.flip(run([
        `--cni-bin-dir=${node.paths.binDir}`,
        `--cni-conf-dir=${node.paths.confDir}`,
        `--socket=${join(node.root, "none.sock")}`,
        "--only=conflist",
        "--wait=0"
      ]))
      assert.include(String(error), "NotReady")
      assert.include(error instanceof Error ? error.message : "", "ENOENT")
      assert.deepStrictEqual(node.tree(), {})
    })).pipe(Effect.provide(NodeServices.layer)))
})
