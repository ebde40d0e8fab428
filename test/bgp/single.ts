/** One node with the `Bird` layer of this process and a BIRD router, for a whole file of specs. */
import { afterAll, beforeAll, it } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Bird } from "../../src/bird/Bird.ts"
import type { BirdStatus } from "../../src/bird/birdStatus.ts"
import { eventually, exec, run } from "../agent/node.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"
import { end, Lab, node4, node6, ROUTER4, ROUTER6, ROUTER_ASN, startBird } from "./lab.ts"

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

export const until = (
  service: Bird["Service"],
  what: string,
  matches: (status: BirdStatus) => boolean
): Effect.Effect<BirdStatus> =>
  Effect.promise(() =>
    eventually(what, async () => {
      const status = await Effect.runPromise(service.status)
      if (!matches(status)) throw new Error(JSON.stringify(status))
      return status
    })
  )

export const established = (status: BirdStatus): boolean =>
  !status.stale && status.peers.length === 2 && status.peers.every(({ state }) => state === "Established")

export class Single {
  readonly netns = `fln-${process.pid}-${Math.random().toString(16).slice(2, 8)}`
  directory = ""
  bird: ChildProcess | undefined
  #lab: Lab | undefined

  get lab(): Lab {
    if (this.#lab === undefined) throw new Error("the lab is not up")
    return this.#lab
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
      await run("ip", "netns", "add", this.netns)
      this.#lab = await Lab.open({ router: "bird", nodes: [this.netns] })
    })
    afterAll(async () => {
      await this.#lab?.close()
      await exec("ip", ["netns", "del", this.netns])
    })
  }

  /** Each spec has a folder, and a BIRD when it starts one; both end with it. */
  live(name: string, test: Effect.Effect<void, unknown, Scope.Scope>): void {
    it.live(name, () =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          this.directory = mkdtempSync(join(tmpdir(), "flock-bird-"))
        }),
        () => Effect.scoped(test),
        () =>
          Effect.promise(async () => {
            if (this.bird !== undefined) await end(this.bird, "SIGKILL")
            this.bird = undefined
            rmSync(this.directory, { recursive: true })
            for (const family of ["-6", "-4"]) {
              await exec("ip", ["-n", this.netns, family, "route", "flush", "proto", "bird"])
            }
          })
      ))
  }

  readonly start = Effect.promise(async () => {
    await eventually("bird.conf is written", async () => existsSync(this.conf))
    this.bird = await startBird(this.netns, this.directory)
  })

  /** The layer with an empty export set, BIRD, and both sessions Established. */
  readonly up = Effect.gen({ self: this }, function*() {
    const facts = yield* makeFacts(some(spec()), [uplink])
    const service = yield* runBird(facts, this.directory)
    yield* service.setExportSet([])
    yield* this.start
    yield* until(service, "sessions", established)
    return { facts, service }
  })

  /** How often BIRD took a configuration. */
  taken(): number {
    return readFileSync(join(this.directory, "bird.log"), "utf8").split("Reconfiguring").length - 1
  }
}
