/**
 * `flock-agent install-cni`: the plugin and the conflist on a node. The plugin comes first and alone (DaemonSet: init
 * container with `--only plugin`); the conflist tells kubelet that the node's network is there, so it is written only
 * when the agent serves: by the agent itself in a cluster, by this command waiting for it elsewhere.
 */
import { Data, Effect, FileSystem } from "effect"
import { join } from "node:path"
import { LINK_NAME } from "../netlink/Netlink.ts"
import { conflist, CONFLIST_NAME, networksBefore, otherNetworks, PLUGIN_NAME } from "./conflist.ts"
import { type Change, FileChangeFailed, install, moveAside, restoreAll, uninstall } from "./keptFiles.ts"

export interface CniPaths {
  /** The runtime's folder of plugins, as seen from here: `/opt/cni/bin`, or a host path mounted elsewhere. */
  readonly binDir: string
  /** The runtime's folder of network configurations: `/etc/cni/net.d`. */
  readonly confDir: string
}

/** Pods of flock's are still there: without its plugin their DEL would fail for ever. */
export class StillUsed extends Data.TaggedError("StillUsed")<{ readonly links: ReadonlyArray<string> }> {
  override get message(): string {
    return `the plugin stays, for ${this.links.length} pods still use it (${this.links.slice(0, 3).join(", ")}${
      this.links.length > 3 ? ", …" : ""
    }): drain the node and run this again, or give --force`
  }
}

const namesIn = Effect.fnUntraced(function*(folder: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.readDirectory(folder).pipe(
    Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed<ReadonlyArray<string>>([])),
    Effect.mapError((error) => new FileChangeFailed({ what: "read", path: folder, detail: error.message }))
  )
})

/** Copies the plugin from `source` (the build's `cni/flock`). A running old one keeps its file. */
export const installPlugin = Effect.fn("installPlugin")(function*(paths: CniPaths, source: string) {
  const fs = yield* FileSystem.FileSystem
  const content = yield* fs.readFile(source).pipe(
    Effect.mapError((error) => new FileChangeFailed({ what: "read the plugin", path: source, detail: error.message }))
  )
  return yield* install(join(paths.binDir, PLUGIN_NAME), content, 0o755)
})

/** Writes the conflist. `takeover` moves every other network configuration of the folder aside, after ours is there. */
export const installConflist = Effect.fn("installConflist")(
  function*(paths: CniPaths, options: { readonly takeover: boolean }) {
    const portmap = (yield* namesIn(paths.binDir)).includes("portmap")
    const content = new TextEncoder().encode(conflist({ portmap }))
    const changes = yield* install(join(paths.confDir, CONFLIST_NAME), content, 0o644)
    const names = yield* namesIn(paths.confDir)
    const others = options.takeover
      ? yield* Effect.forEach(otherNetworks(names), (name) => moveAside(join(paths.confDir, name)))
      : networksBefore(names).map((name): Change => ({
        action: "left alone",
        path: join(paths.confDir, name),
        detail: `the runtime reads it before ${CONFLIST_NAME} and uses it instead: --takeover moves it aside`
      }))
    return [...changes, ...others]
  }
)

/** For `flock-agent run`: the conflist once `ready` ends, with what was done in the log. */
export const conflistWhenReady = Effect.fnUntraced(
  function*(paths: CniPaths, options: { readonly takeover: boolean; readonly ready: Effect.Effect<void> }) {
    yield* options.ready
    for (const { action, path, detail } of yield* installConflist(paths, options)) {
      yield* (action === "left alone" ? Effect.logWarning : Effect.logInfo)(
        `${action}: ${path}${detail ? `: ${detail}` : ""}`
      )
    }
  }
)

/** The conflist first, so that no new pod comes; then what had been moved aside; the plugin only when unused. */
export const uninstallAll = Effect.fn("uninstallAll")(
  function*(paths: CniPaths, options: { readonly force: boolean; readonly sysClassNet: string }) {
    const changes: Array<Change> = [...yield* uninstall(join(paths.confDir, CONFLIST_NAME))]
    changes.push(...yield* restoreAll(paths.confDir))
    const links = (yield* namesIn(options.sysClassNet)).filter((name) => LINK_NAME.test(name))
    if (links.length > 0 && !options.force) return { changes, stillUsed: new StillUsed({ links }) }
    changes.push(...yield* uninstall(join(paths.binDir, PLUGIN_NAME)))
    changes.push(...yield* restoreAll(paths.binDir))
    return { changes, stillUsed: undefined }
  }
)
