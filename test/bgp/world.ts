/** A node with the `Bird` layer of this process and a real BIRD, and a lab around it. */
import { Effect, Exit, Option, Redacted, Ref, Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Bird } from "../../src/bird/Bird.ts"
import { eventually, exec, run } from "../agent/node.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"
import { end, Lab, type LabOptions, node4, node6, ROUTER4, ROUTER6, startBird } from "./lab.ts"

export const peer6 = { address: ROUTER6, asn: 65000, holdTimeSeconds: 9 }
export const peer4 = { address: ROUTER4, asn: 65000, holdTimeSeconds: 9 }

const cleanups: Array<() => Promise<unknown>> = []
/** Takes down everything that {@link open} made; for `afterEach`. */
export const closeWorlds = async (): Promise<void> => {
  for (const cleanup of cleanups.toReversed()) await cleanup()
  cleanups.length = 0
}

export interface World {
  readonly lab: Lab
  readonly netns: string
  readonly bird: Bird["Service"]
  readonly facts: Effect.Success<ReturnType<typeof makeFacts>>
}

/** A node with `bgp`, a router with `options`. */
export const open = async (
  bgp: object,
  options: Partial<LabOptions> = {},
  secrets: ReadonlyMap<string, string> = new Map(),
  addresses: ReadonlyArray<string> = [`${node6(0)}/64`, `${node4(0)}/24`]
): Promise<World> => {
  const netns = `fls-${process.pid}-${Math.random().toString(16).slice(2, 8)}`
  await run("ip", "netns", "add", netns)
  cleanups.push(() => exec("ip", ["netns", "del", netns]))
  const lab = await Lab.open({ router: "frr", nodes: [netns], ...options })
  cleanups.push(() => lab.close())
  const directory = mkdtempSync(join(tmpdir(), "flock-sessions-"))
  cleanups.push(async () => rmSync(directory, { recursive: true }))
  const scope = Scope.makeUnsafe()
  cleanups.push(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  const spec = nodeConfig({ cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp }, "node1")
  const [bird, facts] = await Effect.runPromise(
    Effect.gen(function*() {
      const facts = yield* makeFacts({ current: Option.some(spec) }, [hostInterface("uplink", addresses)])
      yield* Ref.set(facts.secrets, new Map([...secrets].map(([key, value]) => [key, Redacted.make(value)])))
      const bird = yield* runBird(facts, directory)
      yield* bird.setExportSet([])
      return [bird, facts] as const
    }).pipe(Effect.provideService(Scope.Scope, scope))
  )
  await eventually("bird.conf", async () => existsSync(join(directory, "bird.conf")))
  const daemon: ChildProcess = await startBird(netns, directory, "-R")
  cleanups.push(() => end(daemon, "SIGKILL"))
  return { lab, netns, bird, facts }
}

export const established = ({ bird }: World, count: number) =>
  eventually("sessions Established", async () => {
    const status = await Effect.runPromise(bird.status)
    if (status.peers.filter(({ state }) => state === "Established").length !== count) {
      throw new Error(JSON.stringify(status))
    }
    return status
  }, 20)

export const has = ({ lab }: World, family: 4 | 6) =>
  eventually(`the IPv${family} prefix`, async () => {
    const prefix = family === 6 ? "2001:db8:100::/64" : "10.42.0.0/24"
    return (await lab.bgpTable(family)).get(prefix)
  })
