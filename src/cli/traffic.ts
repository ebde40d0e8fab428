/** `flock-agent traffic`: what this node forwards, for whoever waits until routers send it nothing more. */
import { Console, Effect, FileSystem } from "effect"
import { Command } from "effect/cli"
import { jsonFlag } from "./flags.ts"
import { toJson } from "./toJson.ts"

/**
 * Packets that the node has forwarded, to its pods and from them (proc(5): `ForwDatagrams` of /proc/net/snmp,
 * `Ip6OutForwDatagrams` of /proc/net/snmp6). What the node sends itself, such as kubelet's probes, is not among them.
 */
export const forwardedPackets = (snmp: string, snmp6: string): number => {
  const [names = [], values = []] = snmp.split("\n").filter((line) => line.startsWith("Ip: ")).map((it) =>
    it.split(" ")
  )
  const six = /^Ip6OutForwDatagrams\s+(\d+)$/m.exec(snmp6)?.[1]
  return Number(values[names.indexOf("ForwDatagrams")] ?? 0) + Number(six ?? 0)
}

export const traffic = Command.make(
  "traffic",
  { json: jsonFlag },
  Effect.fn(function*({ json }) {
    const fs = yield* FileSystem.FileSystem
    const read = (file: string) => fs.readFileString(`/proc/net/${file}`)
    const packets = forwardedPackets(yield* read("snmp"), yield* Effect.orElseSucceed(read("snmp6"), () => ""))
    yield* Console.log(json ? toJson({ forwardedPackets: packets }) : `${packets} packets forwarded`)
  })
).pipe(Command.withDescription("packets that this node has forwarded, to its pods and from them"))
