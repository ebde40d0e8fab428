/** What goes wrong on a node, done for real. Each begins, and gives back how it ends. */
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { exec, ip, run } from "../../lab/exec.ts"
import { node4, node6, ROUTER4, ROUTER6 } from "../../lab/Lan.ts"
import type { Relay } from "../../lab/Relay.ts"
import type { World } from "../../lab/World.ts"
import type { FaultKind } from "./plan.ts"
import { Shared } from "./Shared.ts"
import type { SoakNode } from "./SoakNode.ts"

export interface FaultGround {
  readonly soak: SoakNode
  readonly index: number
  /** The router's namespace. */
  readonly router: string
  readonly relay: Relay | undefined
  /** File that the agent's clock follows (libfaketime); undefined: there is none. */
  readonly clock: string | undefined
}

type End = () => Promise<void>
const OVER: End = async () => undefined

/** Foreign routes of flock's own protocol: to what no pod has. */
const FOREIGN = ["2001:db8:a::f00", "192.0.2.200"] as const

const HOUR = 3600
/** Seconds, at first. */
export const CLOCK_AHEAD = 24 * HOUR

/** Within which an agent has restored what was taken from a link, with room for a busy machine. */
const RESTORE_MS = 5_000

const remove = (folder: string): void => {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true })
}

/** Writes until nothing more fits. */
const fill = (file: string): void => {
  const fd = openSync(file, "w")
  try {
    for (const size of [65_536, 4096, 1]) {
      const block = Buffer.alloc(size)
      for (;;) {
        try {
          writeSync(fd, block)
        } catch {
          break
        }
      }
    }
  } finally {
    closeSync(fd)
  }
}

/** The faults of one node. Those that hold something down (agent, BIRD, disk) may overlap: the last that ends raises it. */
export class Faults {
  readonly #ground: FaultGround
  readonly #agent: Shared
  readonly #bird: Shared
  readonly #disk: Shared
  readonly #config: Shared
  /** The records were removed, and no agent has started since. */
  #recordsLost = false
  #linksDown = 0
  #linkTouched = Number.NEGATIVE_INFINITY
  /** A link was touched while there was no agent to restore it. */
  #linksBroken = false
  /** Faults that keep a starting agent from its NodeConfig, where it has lost its copy. */
  #blind = 0
  /** Seconds that the agent's clock is ahead of this machine's. */
  #offset = CLOCK_AHEAD

  constructor(ground: FaultGround) {
    this.#ground = ground
    const { node, pods } = ground.soak.parts
    this.#agent = new Shared(async () => {
      await node.start()
      if (this.#linksBroken) this.#linkTouched = performance.now()
      this.#recordsLost = this.#linksBroken = false
    })
    this.#bird = new Shared(() => node.startBird())
    this.#disk = new Shared(async () => rmSync(this.#filler, { force: true }))
    this.#config = new Shared(() => pods.configure(ground.soak.spec))
  }

  get #state(): string {
    return join(this.#ground.soak.parts.node.directory, "state")
  }

  get #filler(): string {
    return join(this.#state, "filler")
  }

  #ip(...args: ReadonlyArray<string>) {
    return exec("ip", ["-n", this.#ground.soak.parts.node.netns, ...args])
  }

  async #stopAgent(signal: NodeJS.Signals): Promise<End> {
    await this.#agent.take(async () => {
      this.#linksBroken = !this.#linksAreWhole
      await this.#ground.soak.parts.node.stop(signal)
    })
    return () => this.#agent.release()
  }

  get #linksAreWhole(): boolean {
    return this.#linksDown === 0 && !this.#linksBroken && performance.now() - this.#linkTouched > RESTORE_MS
  }

  /**
   * A pod whose record and whose host routes are both gone is rebuilt from its own interface, and which of its addresses to
   * believe the NodeConfig says. So these three are not lost together here (docs/soak.md).
   */
  async #loseState(andHostEnds: boolean): Promise<End> {
    const end = await this.#stopAgent("SIGKILL")
    if (this.#blind > 0 && (andHostEnds || !this.#linksAreWhole)) return end
    remove(this.#state)
    this.#recordsLost = true
    if (andHostEnds) {
      this.#linksBroken = true
      // Down takes routes and neighbours of both families with it.
      for (const link of this.#links) for (const way of ["down", "up"]) await this.#ip("link", "set", link, way)
    }
    const { circumstances, slots } = this.#ground.soak
    const done = slots.filter(({ edited }) => edited).map(({ name }) => circumstances.begin("rebuilt", name))
    this.#ground.soak.lostState = () => done.forEach((end) => end())
    return end
  }

  /** `begin` keeps a starting agent from its NodeConfig; nothing where that would lose pods. */
  async #beBlind(begin: () => Promise<End>): Promise<End> {
    if (this.#recordsLost && !this.#linksAreWhole) return OVER
    this.#blind++
    const end = await begin()
    return async () => {
      await end()
      this.#blind--
    }
  }

  async #api(disturb: (relay: Relay) => void): Promise<End> {
    const { relay } = this.#ground
    if (relay === undefined) return OVER
    disturb(relay)
    return async () => relay.mend()
  }

  async #clock(by: number): Promise<End> {
    // A clock before the API server's certificate was made would be another fault: no TLS at all.
    this.#offset = Math.max(0, this.#offset + by)
    const { clock } = this.#ground
    if (clock !== undefined) writeFileSync(clock, `+${this.#offset}\n`)
    return OVER
  }

  /** The host ends of the node's pods, the witness's apart. */
  get #links(): ReadonlyArray<string> {
    return this.#ground.soak.operated.flatMap(({ container }) => container?.result.interfaces[0].name ?? [])
  }

  async #onLink(
    which: number,
    ...commands: ReadonlyArray<(link: string) => ReadonlyArray<string>>
  ): Promise<string | undefined> {
    const links = this.#recordsLost && this.#blind > 0 ? [] : this.#links
    const link = links[which % Math.max(1, links.length)]
    this.#linkTouched = performance.now()
    if (this.#agent.isDown) this.#linksBroken = true
    if (link !== undefined) { for (const command of commands) await this.#ip(...command(link)) }
    return link
  }

  async #uplinkDown(): Promise<End> {
    const { index } = this.#ground
    await this.#ip("link", "set", "uplink", "down")
    return async () => {
      await this.#ip("link", "set", "uplink", "up")
      await this.#ip("addr", "replace", `${node6(index)}/64`, "dev", "uplink", "nodad")
      await this.#ip("addr", "replace", `${node4(index)}/24`, "dev", "uplink")
      await this.#ip("route", "replace", "default", "via", ROUTER6, "metric", "1024")
      await this.#ip("route", "replace", "default", "via", ROUTER4, "metric", "100")
    }
  }

  /** A host route of somebody else's on the address that IPv4's next pod would get. */
  async #foreignRoute(which: number): Promise<End> {
    const { prefixes, taken } = this.#ground.soak.parts
    const used = taken()
    const free = Array.from({ length: 200 }, (_, i) => `${prefixes.ipv4}${i + 2}`).filter((a) => !used.has(a))
    const address = free[which % 4]
    if (address === undefined) return OVER
    await this.#ip("route", "add", "unreachable", address)
    return async () => void await this.#ip("route", "del", "unreachable", address)
  }

  readonly #begin: Record<FaultKind, (which: number) => Promise<End>> = {
    agentKilled: () => this.#stopAgent("SIGKILL"),
    agentStopped: () => this.#stopAgent("SIGTERM"),
    stateLost: () => this.#loseState(false),
    podsLost: () => this.#loseState(true),
    birdKilled: async () => {
      await this.#bird.take(() => this.#ground.soak.parts.node.stopBird("SIGKILL"))
      return () => this.#bird.release()
    },
    diskFull: async () => {
      await this.#disk.take(async () => fill(this.#filler))
      return () => this.#disk.release()
    },
    apiCut: () => this.#beBlind(() => this.#api((relay) => relay.cut())),
    apiMute: () => this.#beBlind(() => this.#api((relay) => relay.mute())),
    apiSlow: () => this.#api((relay) => relay.slow(300)),
    configGone: () =>
      this.#beBlind(async () => {
        await this.#config.take(() => this.#ground.soak.parts.pods.configure(undefined))
        return () => this.#config.release()
      }),
    cablePulled: async () => {
      await ip(this.#ground.router, "link", "set", `n${this.#ground.index}`, "down")
      return async () => void await ip(this.#ground.router, "link", "set", `n${this.#ground.index}`, "up")
    },
    uplinkDown: () => this.#uplinkDown(),
    clockForward: (which) => this.#clock(HOUR + which),
    clockBack: (which) => this.#clock(-2 * HOUR - which),
    foreignExport: async () => {
      for (const address of FOREIGN) await this.#ip("route", "add", address, "dev", "uplink", "proto", "201")
      return OVER
    },
    exportsFlushed: async () => {
      for (const family of ["-4", "-6"]) await this.#ip(family, "route", "flush", "proto", "201")
      return OVER
    },
    hostEndDown: async (which) => {
      const link = await this.#onLink(which, (link) => ["link", "set", link, "down"])
      this.#linksDown++
      return async () => {
        this.#linksDown--
        this.#linkTouched = performance.now()
        if (link !== undefined) await this.#ip("link", "set", link, "up")
      }
    },
    hostRoutesFlushed: async (which) => {
      await this.#onLink(
        which,
        ...["-4", "-6"].map((family) => (link: string) => [family, "route", "flush", "dev", link])
      )
      return OVER
    },
    neighboursFlushed: async (which) => {
      const flush = (family: string) => (link: string) => [family, "neigh", "flush", "dev", link, "nud", "permanent"]
      await this.#onLink(which, flush("-4"), flush("-6"))
      return OVER
    },
    foreignRoute: (which) => this.#foreignRoute(which)
  }

  /** Begins a fault; the result ends it. Answers are excused from before its begin until after its end. */
  async begin(kind: FaultKind, which: number): Promise<End> {
    const excused = this.#ground.soak.circumstances.begin(kind)
    const end = await this.#begin[kind](which)
    return async () => {
      await end()
      setTimeout(excused, TAIL[kind] ?? 2_000)
    }
  }
}

/** Milliseconds after its end in which a fault still shows, where that is more than 2 s: backing off, reconnecting. */
const TAIL: Partial<Record<FaultKind, number>> = {
  apiCut: 10_000,
  apiMute: 20_000,
  apiSlow: 5_000,
  agentKilled: 0,
  agentStopped: 0
}

/** A state folder that can be filled up. */
export const mountState = async (world: World, folder: string): Promise<void> => {
  mkdirSync(folder, { recursive: true })
  await run("mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "tmpfs", folder)
  world.defer(() => run("umount", "--lazy", folder))
}
