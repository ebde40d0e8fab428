/** The steps that BIRD and the routers decide. */
import { asnText, type BirdStatus, type PeerStatus, peerText, troubleOf } from "../bird/birdStatus.ts"
import { type Cidr, equalAddress, formatCidr, hostCidr, type IpAddress } from "../domain/Ip.ts"
import type { Kind, Snapshot } from "./snapshot.ts"
import { check, failed, passed, skipped, type Step, type StepName } from "./step.ts"

const rest = (detail: string, ...steps: ReadonlyArray<StepName>) => steps.map((step) => skipped(step, detail))

const nameOf = (peer: PeerStatus): string => `${peerText(peer)} (AS${asnText(peer)})`

const stateOf = (peer: PeerStatus): string =>
  [`${nameOf(peer)} is ${peer.state}`, troubleOf(peer)].filter((it) => it !== "").join(": ")

const OUTSIDE = "it lies outside the node's CIDRs: they were changed after the pod was added"

const exportSetStep = (
  address: IpAddress,
  kind: Kind,
  prefix: Cidr | undefined,
  { bird, exportSet, mayExport }: Snapshot
): Step => {
  if (kind === "pod" && prefix === undefined) return failed("export-set", OUTSIDE)
  const wanted = prefix !== undefined || exportSet.some((exported) => equalAddress(exported, address))
  const what = prefix === undefined ? "" : `, ${formatCidr(prefix)},`
  if (mayExport === undefined) return skipped("export-set", "BIRD does not answer")
  if (mayExport) {
    return passed("export-set", `the configuration that BIRD runs lets it${what} out`)
  }
  const why = bird.stale ? `: ${bird.configError}` : ""
  return failed(
    "export-set",
    wanted
      ? `it${what} should be in BIRD's configuration, and is not in the one that BIRD runs${why}`
      : `no committed allocation has it, and BIRD's configuration has it not${why}`
  )
}

const LEAVING = "; flock-agent withdraw is about to shut them, and announces with GRACEFUL_SHUTDOWN until then"

const sessionStep = ({ drained, leaving, peers }: BirdStatus): Step => {
  if (drained === true) {
    return failed("session", "this node was withdrawn by flock-agent withdraw; flock-agent restore takes it back")
  }
  return peers.length === 0
    ? failed("session", "spec.bgp.peers is empty")
    : check(
      peers.some(({ state }) => state === "Established"),
      "session",
      peers.map(stateOf).join("; ") + (leaving === true ? LEAVING : "")
    )
}

/** Where the answer ends: nothing here knows what a router makes of an UPDATE. */
const routerStep = (destination: string): Step =>
  skipped(
    "router",
    `whether a router took it, only that router knows. There: "show bgp ipv${
      destination.includes(":") ? 6 : 4
    } unicast ` +
      `${destination}" (FRR, Cisco, Arista), "show route ${destination}" (BIRD, Junos)`
  )

const announcedSteps = (
  address: IpAddress,
  shouldServe: boolean,
  prefix: Cidr | undefined,
  { bird, exportedTo }: Snapshot
): ReadonlyArray<Step> => {
  const established = bird.peers.filter(({ state }) => state === "Established")
  if (established.length === 0) return [skipped("announced", "no session is Established")]
  const receivers = established.filter(({ protocol }) => exportedTo.includes(protocol))
  const destination = formatCidr(prefix ?? hostCidr(address))
  const down = bird.peers.filter(({ state }) => state !== "Established").map((peer) => `; ${stateOf(peer)}`).join("")
  if (receivers.length === 0) {
    return [
      shouldServe
        ? failed(
          "announced",
          `BIRD exports it to no peer${bird.stale ? `: ${bird.configError}` : ""}: not to ${
            established.map(nameOf).join(", ")
          }${down}`
        )
        : skipped("announced", "withdrawn, as it should be")
    ]
  }
  if (!shouldServe && prefix !== undefined) {
    return [skipped("announced", `${destination} is announced all the same: what comes for it is dropped`)]
  }
  const what = prefix === undefined ? "" : `${destination}, `
  return [
    check(shouldServe, "announced", `${what}to ${receivers.map(nameOf).join(", ")}${down}`),
    ...(shouldServe ? [routerStep(destination)] : [])
  ]
}

export const birdSteps = (
  address: IpAddress,
  kind: Kind,
  shouldServe: boolean,
  prefix: Cidr | undefined,
  snapshot: Snapshot
): ReadonlyArray<Step> => {
  const { bird } = snapshot
  if (!bird.enabled) {
    return [
      failed("bird", "the agent runs with --no-bird and announces nothing; another speaker may announce kernel routes"),
      ...rest("no BIRD", "session", "announced")
    ]
  }
  if (!bird.up) {
    return [
      skipped("export-set", "BIRD does not answer"),
      failed("bird", "BIRD does not answer on its control socket"),
      ...rest("BIRD does not answer", "session", "announced")
    ]
  }
  return [
    exportSetStep(address, kind, prefix, snapshot),
    passed(
      "bird",
      `BIRD ${bird.version} answers${bird.stale ? `; not all of what is wanted is in force: ${bird.configError}` : ""}`
    ),
    sessionStep(bird),
    ...announcedSteps(address, shouldServe, prefix, snapshot)
  ]
}
