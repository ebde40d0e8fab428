/** A node with the `Bird` layer of this process and a real BIRD, and a LAN around it. */
import { Effect, Exit, Option, Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { startBird } from "../../lab/bird.ts"
import { Lan, type LanOptions, node4, node6, ROUTER4, ROUTER6 } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Bird } from "../../src/bird/Bird.ts"
import type { HostInterface } from "../../src/netlink/Netlink.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"

export const peer6 = { address: ROUTER6, asn: 65000, holdTimeSeconds: 9 }
export const peer4 = { address: ROUTER4, asn: 65000, holdTimeSeconds: 9 }

const world = new World()
/** Takes down everything that {@link open} made; for `afterEach`. */
export const closeAll = (): Promise<void> => world.close()

export interface BirdNode {
  readonly lan: Lan
  readonly netns: string
  readonly bird: Bird["Service"]
  readonly facts: Effect.Success<ReturnType<typeof makeFacts>>
  /** Of BIRD's files, its log among them. */
  readonly directory: string
  /** BIRD's process. */
  readonly process: ChildProcess
}

/** The layer and a BIRD in a namespace; `password` is key `password` of Secret `tor`. */
export const startNode = async (
  world: World,
  netns: string,
  bgp: object,
  interfaces: ReadonlyArray<HostInterface>,
  password?: string
): Promise<Omit<BirdNode, "lan" | "netns">> => {
  const directory = world.folder("bird")
  const scope = Scope.makeUnsafe()
  world.defer(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  const spec = nodeConfig({ cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp }, "node1")
  const node = await Effect.runPromise(
    Effect.gen(function*() {
      const facts = yield* makeFacts({ current: Option.some(spec) }, interfaces)
      if (password !== undefined) yield* facts.kube.setSecret({ name: "tor", key: "password" }, password)
      const bird = yield* runBird(facts, directory)
      yield* bird.setExportSet([])
      return { bird, facts }
    }).pipe(Effect.provideService(Scope.Scope, scope))
  )
  await until("bird.conf", () => existsSync(join(directory, "bird.conf")))
  return { ...node, directory, process: await startBird(world, netns, directory, "-R") }
}

/** A node with `bgp`, a router with `options`. */
export const open = async (
  bgp: object,
  options: Partial<LanOptions> = {},
  password?: string,
  addresses: ReadonlyArray<string> = [`${node6(0)}/64`, `${node4(0)}/24`]
): Promise<BirdNode> => {
  const netns = world.netns("node")
  const lan = await Lan.open(world, { router: "frr", nodes: [netns], ...options })
  const node = await startNode(world, netns, bgp, [hostInterface("uplink", addresses)], password)
  return { lan, netns, ...node }
}

export const established = ({ bird }: BirdNode, count: number) =>
  until("sessions Established", async () => {
    const status = await Effect.runPromise(bird.status)
    if (status.peers.filter(({ state }) => state === "Established").length !== count) {
      throw new Error(JSON.stringify(status))
    }
    return status
  }, 20)

export const has = ({ lan }: BirdNode, family: 4 | 6) =>
  until(`the IPv${family} prefix`, async () => {
    const prefix = family === 6 ? "2001:db8:100::/64" : "10.42.0.0/24"
    return (await lan.bgpTable(family)).get(prefix)
  })
