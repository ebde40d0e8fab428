/** `flock-agent install-cni`: see `install/install.ts`. */
import { Config, Console, Data, Duration, Effect, Option, Schedule } from "effect"
import { Command, Flag } from "effect/cli"
import { join } from "node:path"
import { oneLine } from "../domain/quote.ts"
import { Firewall } from "../firewall/Firewall.ts"
import { makeConflist, PLUGIN_NAME } from "../install/conflist.ts"
import { installConflist, installPlugin, uninstallAll, uninstallConflist } from "../install/install.ts"
import type { Change } from "../install/keptFiles.ts"
import { callCni } from "../socket/exchange.ts"
import { socketFlag, text } from "./flags.ts"

export class NotReady extends Data.TaggedError("NotReady")<{ readonly seconds: number; readonly detail: string }> {
  override get message(): string {
    return `the conflist is not written, for the agent was not ready within ${this.seconds} s: ${this.detail}`
  }
}

/** Asks the agent for STATUS (CNI spec 1.1.0) until it can serve. */
const agentReady = (socket: string, seconds: number) =>
  callCni(socket, { op: "STATUS", config: makeConflist([]).text }).pipe(
    Effect.timeout("10 seconds"),
    Effect.retry(Schedule.spaced("500 millis").pipe(Schedule.upTo({ duration: Duration.seconds(seconds) }))),
    Effect.mapError((error) => new NotReady({ seconds, detail: error.message })),
    Effect.asVoid
  )

const print = (changes: ReadonlyArray<Change>) =>
  Effect.forEach(
    changes,
    ({ action, path, detail }) => Console.log(oneLine(`${action}: ${path}${detail ? `: ${detail}` : ""}`)),
    { discard: true }
  )

/** A node without nf_tables has nothing to remove; one that will not say is not held up. */
const removeTables = Effect.gen(function*() {
  const firewall = yield* Firewall
  yield* firewall.remove
}).pipe(
  Effect.catch((error) => Console.error(`flock's nftables tables may be left: ${error.message}`)),
  Effect.provide(Firewall.layer())
)

export const installCni = Command.make(
  "install-cni",
  {
    binDir: text("cni-bin-dir", "the runtime's folder of CNI plugins", "/opt/cni/bin"),
    confDir: text("cni-conf-dir", "the runtime's folder of network configurations", "/etc/cni/net.d"),
    plugin: text("plugin", "the plugin to copy", join(import.meta.dirname, "cni", PLUGIN_NAME)),
    socket: socketFlag,
    only: Flag.Literals("only", ["plugin", "conflist"]).pipe(
      Flag.withDescription(
        "do one half: an init container copies the plugin, the agent writes the conflist; with --uninstall: conflist"
      ),
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
    const only = Option.getOrUndefined(flags.only)
    if (flags.uninstall && only === "conflist") return yield* print(yield* uninstallConflist(flags))
    if (flags.uninstall) {
      const { changes, stillUsed } = yield* uninstallAll(flags, { force: flags.force, sysClassNet: "/sys/class/net" })
      yield* print(changes)
      // Pods that are still there stay checked.
      if (stillUsed) return yield* stillUsed
      yield* removeTables
      return
    }
    if (only !== "conflist") yield* print(yield* installPlugin(flags, flags.plugin))
    if (only !== "plugin") {
      yield* agentReady(flags.socket, flags.wait)
      yield* print(yield* installConflist(flags, flags))
    }
  })
).pipe(Command.withDescription("install the CNI plugin and its network configuration on this node"))
