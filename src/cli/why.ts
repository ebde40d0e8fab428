/** `flock-agent why ADDRESS`: is this address announced from here, and if not, what stops it? */
import { Console, Data, Effect } from "effect"
import { Argument, Command } from "effect/cli"
import { AddressFromString } from "../domain/Ip.ts"
import { ask } from "../socket/ask.ts"
import { render } from "../why/render.ts"
import { jsonFlag, socketFlag } from "./flags.ts"
import { toJson } from "./toJson.ts"

/** Said already, in the report. */
export class NotAnnounced extends Data.TaggedError("NotAnnounced")<{ readonly silent: true }> {}

export const why = Command.make(
  "why",
  {
    address: Argument.String("address").pipe(
      Argument.withDescription("an IPv6 or IPv4 address"),
      Argument.withSchema(AddressFromString)
    ),
    socket: socketFlag,
    json: jsonFlag
  },
  Effect.fn(function*({ address, json, socket }) {
    const report = yield* ask(socket, { ask: "why", address })
    yield* Console.log(json ? toJson(report) : render(report))
    if (!report.announced) return yield* new NotAnnounced({ silent: true })
  })
).pipe(Command.withDescription("say why an address is announced from this node, or what stops it (exit code 1)"))
