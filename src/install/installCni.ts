/**
 * `flock-agent install-cni`: the plugin and the conflist on a node. The plugin comes first and alone (DaemonSet: init
 * container with `--only plugin`); the conflist tells kubelet that the node's network is there, so it is written only
 * when the agent serves: by the agent itself in a cluster, by this command waiting for it elsewhere.
 */
import { Config, Console, Data, Duration, Effect, FileSystem, Option, Schedule } from "effect"
import { Command, Flag } from "effect/cli"
import { join } from "node:path"
import { IF_PREFIX } from "../netlink/Netlink.ts"
import { socketFlag, text } from "../Settings.ts"
import { ask } from "../socket/ask.ts"
import { conflist, CONFLIST_NAME, networksBefore, otherNetworks, PLUGIN_NAME } from "./conflist.ts"
import { type Change, FileChangeFailed, install, moveAside, restoreAll, uninstall } from "./keptFiles.ts"

const HOST_LINK = new RegExp(`^${IF_PREFIX}[0-9a-f]{8}$`)

export interface CniPaths {
  /** The runtime's folder of plugins, as seen from here: `/opt/cni/bin`, or a host path mounted elsewhere. */
  readonly binDir: string
  /** The runtime's folder of network configurations: `/etc/cni/net.d`. */
  readonly confDir: string
}

export class NotReady extends Data.TaggedError("NotReady")<{ readonly seconds: number; readonly detail: string }> {
  override get message(): string {
    return `the conflist is not written, for the agent was not ready within ${this.seconds} s: ${this.detail}`
  }
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
    const links = (yield* namesIn(options.sysClassNet)).filter((name) => HOST_LINK.test(name))
    if (links.length > 0 && !options.force) return { changes, stillUsed: new StillUsed({ links }) }
    changes.push(...yield* uninstall(join(paths.binDir, PLUGIN_NAME)))
    changes.push(...yield* restoreAll(paths.binDir))
    return { changes, stillUsed: undefined }
  }
)

/** Asks the agent for STATUS (CNI spec 1.1.0) until it can serve. */
const agentReady = (socket: string, seconds: number) =>
  ask(socket, { op: "STATUS", config: conflist({ portmap: false }) }).pipe(
    Effect.timeout("10 seconds"),
    Effect.retry(Schedule.spaced("500 millis").pipe(Schedule.upTo({ duration: Duration.seconds(seconds) }))),
    Effect.mapError((error) => new NotReady({ seconds, detail: error.message })),
    Effect.asVoid
  )

const print = (changes: ReadonlyArray<Change>) =>
  Effect.forEach(
    changes,
    ({ action, path, detail }) => Console.log(`${action}: ${path}${detail ? `: ${detail}` : ""}`),
    { discard: true }
  )

export const installCni = Command.make(
  "install-cni",
  {
    binDir: text("cni-bin-dir", "the runtime's folder of CNI plugins", "/opt/cni/bin"),
    confDir: text("cni-conf-dir", "the runtime's folder of network configurations", "/etc/cni/net.d"),
    plugin: text("plugin", "the plugin to copy", join(import.meta.dirname, "cni", PLUGIN_NAME)),
    socket: socketFlag,
    only: Flag.Literals("only", ["plugin", "conflist"]).pipe(
      Flag.withDescription("do one half: an init container copies the plugin, the agent writes the conflist"),
      Flag.optional
    ),
    wait: Flag.Int("wait").pipe(
      Flag.withDescription("seconds to wait for the agent before the conflist is written (default: 60)"),
      Flag.withFallbackConfig(Config.Int("FLOCK_WAIT")),
      Flag.withDefault(60)
    ),
    takeover: Flag.Boolean("takeover").pipe(
      Flag.withDescription("move the folder's other network configurations aside, as NAME.flock-kept"),
      Flag.withFallbackConfig(Config.Boolean("FLOCK_TAKEOVER")),
      Flag.withDefault(false)
    ),
    uninstall: Flag.Boolean("uninstall").pipe(
      Flag.withDescription("remove what was installed and restore what it replaced"),
      Flag.withDefault(false)
    ),
    force: Flag.Boolean("force").pipe(
      Flag.withDescription("with --uninstall: remove the plugin though pods still use it"),
      Flag.withDefault(false)
    )
  },
  Effect.fn(function*(flags) {
    if (flags.uninstall) {
      const { changes, stillUsed } = yield* uninstallAll(flags, { force: flags.force, sysClassNet: "/sys/class/net" })
      yield* print(changes)
      if (stillUsed) return yield* stillUsed
      return
    }
    const only = Option.getOrUndefined(flags.only)
    if (only !== "conflist") yield* print(yield* installPlugin(flags, flags.plugin))
    if (only !== "plugin") {
      yield* agentReady(flags.socket, flags.wait)
      yield* print(yield* installConflist(flags, flags))
    }
  })
).pipe(Command.withDescription("install the CNI plugin and its network configuration on this node"))
