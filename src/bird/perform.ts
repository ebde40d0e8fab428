/** Does what `birdState` says has to be done. */
import { Effect, FileSystem } from "effect"
import { portOwnerWords, portSockets } from "../netlink/listeners.ts"
import type { NodeNetwork } from "../netlink/NodeNetwork.ts"
import type { Action, Event } from "./birdEvents.ts"
import type { Control } from "./control.ts"
import { saveKept } from "./keptFile.ts"
import { countEnabled, publish } from "./metrics.ts"

const BGP_PORT = 179

/** Fails never: what cannot be done now is found again. */
export const makePerform = (deps: {
  readonly control: Control
  readonly fs: FileSystem.FileSystem
  /** Where what is kept of sessions is. */
  readonly keptFile: string
  readonly network: NodeNetwork["Service"]
  readonly request: Effect.Effect<void>
  readonly dispatch: (event: Event) => Effect.Effect<void>
}) => {
  const { control, dispatch, fs, keptFile, network, request } = deps

  const findPortOwner = Effect.fnUntraced(function*(known: string | undefined) {
    const sockets = yield* portSockets("/proc", BGP_PORT)
    if (sockets === known) return
    const words = yield* portOwnerWords("/proc", BGP_PORT)
    yield* dispatch({ _tag: "PortOwnerFound", port: { sockets, words } })
  }, Effect.provideService(FileSystem.FileSystem, fs))

  return (action: Action): Effect.Effect<void> => {
    switch (action._tag) {
      case "Log":
        return Effect.logWithLevel(action.level)(action.message).pipe(Effect.annotateLogs(action.annotations ?? {}))
      case "Publish":
        return publish(action.now, action.before)
      case "RequestReload":
        return request
      case "Enable":
        return Effect.forEach(action.protocols, (protocol) => control.command(`enable ${protocol}`)).pipe(
          Effect.andThen(countEnabled(action.protocols.length)),
          Effect.ignore({ log: true })
        )
      case "SaveKept":
        return saveKept(fs, keptFile, action.kept)
      case "FindPortOwner":
        return findPortOwner(action.known)
      case "TellOverlaps":
        return network.learned(action.learned)
      case "ExportAgain":
        return Effect.ignore(control.command(`reload out ${action.protocol}`), { log: true })
    }
  }
}
