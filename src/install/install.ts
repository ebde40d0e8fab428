/**
 * `flock-agent install-cni`: the plugin and the conflist on a node. The plugin comes first and alone (DaemonSet: init
 * container with `--only plugin`); the conflist tells kubelet that the node's network is there, so it is written only
 * when the agent serves: by the agent itself in a cluster, by this command waiting for it elsewhere.
 */
import { Data, Effect, FileSystem, Ref, Schedule, Stream } from "effect"
import { join } from "node:path"
import { changedNames, SETTLE_MILLIS } from "../kube/folder.ts"
import { LINK_NAME } from "../netlink/Netlink.ts"
import { sayOnce } from "../process/sayOnce.ts"
import {
  CHAINED_TYPES,
  CONFLIST_NAME,
  type FoundPlugin,
  makeConflist,
  networksBefore,
  otherNetworks,
  PLUGIN_NAME
} from "./conflist.ts"
import { type Change, FileChangeFailed, install, moveAside, restoreAll, uninstall } from "./keptFiles.ts"
import { pluginVersions } from "./pluginVersions.ts"

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

/** The plugins that are there to be chained, asked what they support. */
const chainedIn = Effect.fnUntraced(function*(binDir: string) {
  const names = yield* namesIn(binDir)
  return yield* Effect.forEach(
    CHAINED_TYPES.filter((type) => names.includes(type)),
    (type) => Effect.map(pluginVersions(join(binDir, type)), (versions) => ({ type, versions })),
    { concurrency: "unbounded" }
  )
})

/** Writes the conflist that `chained` makes. */
const putConflist = Effect.fnUntraced(function*(paths: CniPaths, chained: ReadonlyArray<FoundPlugin>) {
  const { notes, text } = makeConflist(chained)
  const changes = yield* install(join(paths.confDir, CONFLIST_NAME), new TextEncoder().encode(text), 0o644)
  return changes.map((change): Change =>
    change.action === "kept" || notes.length === 0 ? change : { ...change, detail: notes.join("; ") }
  )
})

/** What to do about the folder's other network configurations. */
const otherConfigurations = Effect.fnUntraced(function*(paths: CniPaths, takeover: boolean) {
  const names = yield* namesIn(paths.confDir)
  if (takeover) return yield* Effect.forEach(otherNetworks(names), (name) => moveAside(join(paths.confDir, name)))
  return networksBefore(names).map((name): Change => ({
    action: "left alone",
    path: join(paths.confDir, name),
    detail: `the runtime reads it before ${CONFLIST_NAME} and uses it instead: --takeover moves it aside`
  }))
})

/** Writes the conflist. `takeover` moves every other network configuration of the folder aside, after ours is there. */
export const installConflist = Effect.fn("installConflist")(
  function*(paths: CniPaths, options: { readonly takeover: boolean }) {
    const changes = yield* putConflist(paths, yield* chainedIn(paths.binDir))
    return [...changes, ...yield* otherConfigurations(paths, options.takeover)]
  }
)

const logChanges = (changes: ReadonlyArray<Change>) =>
  Effect.forEach(
    changes,
    ({ action, detail, path }) =>
      (action === "left alone" ? Effect.logWarning : Effect.logInfo)(
        `${action}: ${path}${detail ? `: ${detail}` : ""}`
      ),
    {
      discard: true
    }
  )

const sameText = (a: ReadonlyArray<FoundPlugin>, b: ReadonlyArray<FoundPlugin>) =>
  makeConflist(a).text === makeConflist(b).text

/**
 * Writes the conflist again when a plugin to be chained comes or is replaced by one that supports other versions. A
 * plugin that went stays in the list: it may be in the middle of an upgrade, and a pod that fails for want of it is
 * better than one that runs without its host ports.
 */
const followPlugins = (paths: CniPaths, first: ReadonlyArray<FoundPlugin>) =>
  Effect.gen(function*() {
    const written = yield* Ref.make(first)
    const look = Effect.gen(function*() {
      const found = yield* chainedIn(paths.binDir)
      const before = yield* Ref.get(written)
      const gone = before.some(({ type }) => !found.some((plugin) => plugin.type === type))
      if (gone || sameText(before, found)) return
      yield* logChanges(yield* putConflist(paths, found))
      yield* Ref.set(written, found)
    })
    yield* changedNames(paths.binDir).pipe(
      Stream.filter((name) => name === "" || CHAINED_TYPES.some((type) => type === name)),
      Stream.debounce(SETTLE_MILLIS),
      Stream.runForEach(() => look)
    )
  })

/** For `flock-agent run`: the conflist once `ready` ends, and kept up to date, with what was done in the log. */
export const conflistWhenReady = Effect.fnUntraced(
  function*(paths: CniPaths, options: { readonly takeover: boolean; readonly ready: Effect.Effect<void> }) {
    yield* options.ready
    const chained = yield* chainedIn(paths.binDir)
    yield* logChanges(yield* putConflist(paths, chained))
    yield* logChanges(yield* otherConfigurations(paths, options.takeover))
    yield* followPlugins(paths, chained).pipe(sayOnce(Effect.logWarning), Effect.retry(Schedule.spaced("5 seconds")))
  }
)

/** Takes the node's new pods from flock: its conflist goes, and what had been moved aside is back. */
export const uninstallConflist = Effect.fn("uninstallConflist")(function*({ confDir }: Pick<CniPaths, "confDir">) {
  return [...yield* uninstall(join(confDir, CONFLIST_NAME)), ...yield* restoreAll(confDir)] as ReadonlyArray<Change>
})

/** The conflist first, so that no new pod comes; then what had been moved aside; the plugin only when unused. */
export const uninstallAll = Effect.fn("uninstallAll")(
  function*(paths: CniPaths, options: { readonly force: boolean; readonly sysClassNet: string }) {
    const changes: Array<Change> = [...yield* uninstallConflist(paths)]
    const links = (yield* namesIn(options.sysClassNet)).filter((name) => LINK_NAME.test(name))
    if (links.length > 0 && !options.force) return { changes, stillUsed: new StillUsed({ links }) }
    changes.push(...yield* uninstall(join(paths.binDir, PLUGIN_NAME)))
    changes.push(...yield* restoreAll(paths.binDir))
    return { changes, stillUsed: undefined }
  }
)
