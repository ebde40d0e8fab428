/** The steps that BIRD and the routers decide. */
import { type Cidr, equalAddress, formatCidr, type IpAddress } from "../domain/Ip.ts"
import type { Kind, Snapshot } from "./snapshot.ts"
import { check, failed, passed, skipped, type Step, type StepName } from "./step.ts"

const rest = (detail: string, ...steps: ReadonlyArray<StepName>) => steps.map((step) => skipped(step, detail))

export const birdSteps = (
  address: IpAddress,
  kind: Kind,
  shouldServe: boolean,
  aggregate: Cidr | undefined,
  { bird, exportedTo, exportSet }: Snapshot
): ReadonlyArray<Step> => {
  if (!bird.enabled) {
    return [
      failed("bird", "the agent runs with --no-bird and announces nothing; another speaker may announce kernel routes"),
      ...rest("no BIRD", "session", "announced")
    ]
  }
  const remark = bird.stale ? `; not all of the wanted configuration is in force: ${bird.configError}` : ""
  const listed = exportSet.some((exported) => equalAddress(exported, address))
  const exportSetStep = kind === "pod"
    ? aggregate === undefined
      ? failed("export-set", "it lies outside the node's CIDRs: they were changed after the pod was added")
      : passed("export-set", `part of ${formatCidr(aggregate)}${remark}`)
    : check(listed, "export-set", `${listed ? "" : "not "}in the export set of bird.conf${remark}`)
  if (!bird.up) {
    return [
      exportSetStep,
      failed("bird", "BIRD does not answer on its control socket"),
      ...rest("BIRD does not answer", "session", "announced")
    ]
  }
  const established = bird.peers.filter(({ state }) => state === "Established")
  const states = bird.peers.map((peer) =>
    [`${peer.address} (AS${peer.asn}) is ${peer.state}`, peer.problem ?? peer.lastError].filter((it) => it !== "").join(
      ": "
    )
  )
  const session = bird.drained
    ? failed("session", "this node was withdrawn by flock-agent withdraw; flock-agent restore takes it back")
    : bird.peers.length === 0
    ? failed("session", "spec.bgp.peers is empty")
    : check(established.length > 0, "session", states.join("; "))
  const channel = address.family === 6 ? "ipv6" : "ipv4"
  const receivers = established.filter((peer) =>
    kind === "pod" ? peer[channel].announced > 0 : exportedTo.includes(peer.protocol)
  )
  const what = kind === "pod" && aggregate !== undefined ? `${formatCidr(aggregate)}, ` : ""
  return [
    exportSetStep,
    passed("bird", `BIRD ${bird.version} answers`),
    session,
    established.length === 0
      ? skipped("announced", "no session is Established")
      : receivers.length > 0
      ? check(
        shouldServe,
        "announced",
        `${what}to ${receivers.map((peer) => `${peer.address} (AS${peer.asn})`).join(", ")}`
      )
      : shouldServe
      ? failed("announced", `BIRD exports it to no peer${remark}`)
      : skipped("announced", "withdrawn, as it should be")
  ]
}
