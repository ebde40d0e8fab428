/** What the agent asks BIRD of its sessions, and how it shuts and opens them. */
import { Effect } from "effect"
import { askBfd } from "./bfd.ts"
import type { Answer, State } from "./birdEvents.ts"
import type { Control } from "./control.ts"
import { limitHits } from "./exportLimit.ts"
import { parseHops, parseRouterId } from "./kept.ts"
import { learnedFrom, unreachable } from "./learned.ts"
import { overlaps, withoutOverlaps } from "./overlaps.ts"
import { parseProtocols } from "./protocols.ts"

/** `CLI_RC` of BIRD's nest/cli.c for a pattern that matches no protocol. */
const NO_PROTOCOLS_MATCH = 8003

/** Fails never: no answer is one too. What is rarely of interest is only asked where it can be. */
export const ask = (control: Control, { config, notes }: State): Effect.Effect<Answer> =>
  control.command("show protocols all").pipe(
    Effect.flatMap((reply) =>
      Effect.gen(function*() {
        const { importCIDRs = [], peers = [] } = config?.spec.bgp ?? {}
        const resolves = importCIDRs.length > 0 && peers.some(({ multihop }) => multihop > 0)
        const dropped = [...notes].flatMap(([protocol, note]) => note.dropped.size > 0 ? [protocol] : [])
        const known = parseProtocols(reply)
        const found = yield* overlaps(control, known)
        return {
          _tag: "Up",
          version: yield* control.version,
          peers: withoutOverlaps(known, found),
          overlaps: found,
          hits: limitHits(reply),
          bfd: peers.some(({ bfd }) => bfd) ? yield* askBfd(control) : new Map(),
          unreachable: resolves ? yield* unreachable(control) : new Map(),
          learned: yield* learnedFrom(control, dropped),
          inForce: {
            routerId: known.some(({ state }) => state === "Established")
              ? parseRouterId(yield* control.command("show status"))
              : undefined,
            hops: parseHops(reply)
          }
        } satisfies Answer
      })
    ),
    Effect.catch((error) => Effect.succeed<Answer>({ _tag: "Down", error: error.message }))
  )

/** At once by command; the file has it too, or a reload would bring back sessions that only a command disabled. */
export const switchSessions = (control: Control, verb: "disable" | "enable") =>
  control.command(`${verb} "peer_*"`).pipe(
    Effect.map((reply) => reply.lines.map(({ text }) => text.trim()).filter((text) => text !== "")),
    Effect.catchTag(
      "BirdRefused",
      (error) => error.code === NO_PROTOCOLS_MATCH ? Effect.succeed([]) : Effect.fail(error)
    )
  )
