/** One node with the `Bird` layer of this process and a BIRD router, for a whole file of specs. */
import { afterAll, beforeAll, it } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { startBird } from "../../lab/bird.ts"
import { end, exec } from "../../lab/exec.ts"
import { Lan, node4, node6, ROUTER4, ROUTER6, ROUTER_ASN } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Bird } from "../../src/bird/Bird.ts"
import type { BirdStatus } from "../../src/bird/birdStatus.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"

export const uplink = hostInterface("uplink", [`${node6(0)}/64`, `${node4(0)}/24`])
export const spec = (more: object = {}, bgp: object = {}) => ({
  cidr6: "2001:db8:1::/64",
  cidr4: "10.42.1.0/24",
  anycast: { allowedCIDRs: ["2001:db8:a::/64"] },
  bgp: {
    asn: 65001,
    peers: [
      { address: ROUTER6, asn: ROUTER_ASN, holdTimeSeconds: 9 },
      { address: ROUTER4, asn: ROUTER_ASN, holdTimeSeconds: 9 }
    ],
    ...bgp
  },
  ...more
})
export const some = (it: object) => ({ current: Option.some(nodeConfig(it, "node1")), rejected: Option.none() })

export const untilStatus = (
  service: Bird["Service"],
  what: string,
  matches: (status: BirdStatus) => boolean
): Effect.Effect<BirdStatus> =>
  Effect.promise(() =>
    until(what, async () => {
      const status = await Effect.runPromise(service.status)
      if (!matches(status)) throw new Error(JSON.stringify(status))
      return status
    })
  )

export const established = (status: BirdStatus): boolean =>
  !status.stale && status.peers.length === 2 && status.peers.every(({ state }) => state === "Established")

export class Single {
  readonly #world = new World()
  netns = ""
  directory = ""
  bird: ChildProcess | undefined
  #lan: Lan | undefined

  get lan(): Lan {
    if (this.#lan === undefined) throw new Error("the LAN is not up")
    return this.#lan
  }

  get conf(): string {
    return join(this.directory, "bird.conf")
  }

  readConf(): string {
    return readFileSync(this.conf, "utf8")
  }

  /** Registers the hooks of the file that calls it. */
  constructor() {
    beforeAll(async () => {
      this.netns = this.#world.netns("node")
      this.#lan = await Lan.open(this.#world, { router: "bird", nodes: [this.netns] })
    })
    afterAll(() => this.#world.close())
  }

  /** Each spec has a folder, and a BIRD when it starts one, which ends with it. */
  live(name: string, test: Effect.Effect<void, unknown, Scope.Scope>): void {
    it.live(name, () =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          this.directory = this.#world.folder("bird")
        }),
        () => Effect.scoped(test),
        () =>
          Effect.promise(async () => {
            if (this.bird !== undefined) await end(this.bird, "SIGKILL")
            this.bird = undefined
            for (const family of ["-6", "-4"]) {
              await exec("ip", ["-n", this.netns, family, "route", "flush", "proto", "bird"])
            }
          })
      ))
  }

  /** Starts a BIRD on the files of a folder, in place of the one there was. */
  async startBird(directory: string): Promise<void> {
    if (this.bird !== undefined) await end(this.bird, "SIGTERM")
    this.bird = await startBird(this.#world, this.netns, directory)
  }

  readonly start = Effect.promise(async () => {
    await until("bird.conf is written", () => existsSync(this.conf))
    await this.startBird(this.directory)
  })

  /** The layer with an empty export set, BIRD, and both sessions Established. */
  readonly up = Effect.gen({ self: this }, function*() {
    const facts = yield* makeFacts(some(spec()), [uplink])
    const service = yield* runBird(facts, this.directory)
    yield* service.setExportSet([])
    yield* this.start
    yield* untilStatus(service, "sessions", established)
    return { facts, service }
  })

  /** How often BIRD took a configuration. */
  taken(): number {
    return readFileSync(join(this.directory, "bird.log"), "utf8").split("Reconfiguring").length - 1
  }
}
