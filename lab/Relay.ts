/** A TCP relay in front of a server, to cut it off, to slow it down, or to let it fall silent. */
import { once } from "node:events"
import { writeFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import type { World } from "./World.ts"

/** Listens on 127.0.0.1 in its network namespace, and connects each caller to a Unix socket. */
const DOOR = `import net from "node:net"
const server = net.createServer((from) => {
  const to = net.connect(process.argv[2])
  from.on("error", () => to.destroy()).on("close", () => to.destroy()).pipe(to)
  to.on("error", () => from.destroy()).on("close", () => from.destroy()).pipe(from)
})
server.listen(0, "127.0.0.1", () => console.log(server.address().port))
`

export class Relay {
  readonly #target: net.TcpNetConnectOpts
  readonly #open = new Set<net.Socket>()
  readonly #dead = new WeakSet<net.Socket>()
  /** Of `performance.now()`, for both ends of a connection. */
  readonly #lastPassed = new WeakMap<net.Socket, number>()
  #state: "open" | "cut" | "mute" = "open"
  #delay = 0
  #port = 0

  private constructor(target: net.TcpNetConnectOpts) {
    this.#target = target
  }

  /** With `netns`, callers in that namespace reach it; else those where this process runs. */
  static async open(world: World, target: net.TcpNetConnectOpts, netns?: string): Promise<Relay> {
    const relay = new Relay(target)
    const server = net.createServer((from) => relay.#connect(from))
    world.defer(() => {
      relay.cut()
      server.close()
    })
    if (netns === undefined) {
      await once(server.listen(0, "127.0.0.1"), "listening")
      relay.#port = (server.address() as net.AddressInfo).port
    } else {
      const directory = world.folder("relay")
      const [socket, script] = [join(directory, "relay.sock"), join(directory, "door.mjs")]
      writeFileSync(script, DOOR)
      await once(server.listen(socket), "listening")
      const door = world.spawn([process.execPath, script, socket], { netns })
      relay.#port = Number(String(await once(door.stdout ?? door, "data")).trim())
    }
    return relay
  }

  /** On 127.0.0.1, where the callers are. */
  get port(): number {
    return this.#port
  }

  #connect(from: net.Socket): void {
    from.on("error", () => from.destroy())
    if (this.#state === "cut") return void from.destroy()
    const to = net.connect(this.#target)
    to.on("error", () => from.destroy())
    for (const [a, b] of [[from, to], [to, from]] as const) {
      this.#open.add(a)
      a.on("data", (chunk) => this.#pass(a, b, chunk))
      a.on("close", () => {
        this.#open.delete(a)
        b.destroy()
      })
    }
  }

  #pass(from: net.Socket, to: net.Socket, chunk: Buffer): void {
    if (this.#state === "mute" || this.#dead.has(to)) return
    for (const socket of [from, to]) this.#lastPassed.set(socket, performance.now())
    if (this.#delay === 0) to.write(chunk)
    else setTimeout(() => to.writable && to.write(chunk), this.#delay)
  }

  get connections(): number {
    return this.#open.size / 2
  }

  /** Closes what is open; refuses new connections until {@link mend}. */
  cut(): void {
    this.#state = "cut"
    for (const socket of this.#open) socket.destroy()
  }

  /** Takes connections and passes nothing on, and closes nothing. */
  mute(): void {
    this.#state = "mute"
  }

  /**
   * Connections on which something was passed since then (of `performance.now()`) pass nothing on any more, and stay open;
   * others, and new ones, do.
   */
  muteThoseHeardSince(millis: number): void {
    for (const socket of this.#open) {
      if ((this.#lastPassed.get(socket) ?? 0) >= millis) this.#dead.add(socket)
    }
  }

  /** Whatever is sent arrives so many milliseconds later, in either direction. */
  slow(milliseconds: number): void {
    this.#delay = milliseconds
  }

  mend(): void {
    this.#state = "open"
    this.#delay = 0
  }
}
