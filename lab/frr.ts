/** FRR in a network namespace: its daemons, their answers and their configuration, in one folder. */
import type { ChildProcess } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { end, exec, run } from "./exec.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

/** Where Debian has the daemons, which are in nobody's PATH: those of another version go before ({@link chooseVersions}). */
const FRR = "/usr/lib/frr"

export type FrrDaemon = "mgmtd" | "zebra" | "bgpd" | "bfdd"

export class Frr {
  readonly world: World
  readonly netns: string
  readonly directory: string
  readonly #daemons = new Map<FrrDaemon, ChildProcess>()

  /** Nothing runs yet. */
  constructor(world: World, netns: string, directory: string = world.folder("frr")) {
    this.world = world
    this.netns = netns
    this.directory = directory
  }

  /** zebra, bgpd on `config`, and bfdd where wanted; they need about a second. */
  async start(
    config: string,
    options: { readonly bfd?: boolean | undefined; readonly zebra?: string | undefined } = {}
  ): Promise<void> {
    const zebra = options.zebra ?? "hostname router\n"
    if (await this.#hasManager()) await this.#startManaged(zebra)
    else await this.startDaemon("zebra", zebra)
    await this.startDaemon("bgpd", config, "-p", "179")
    if (options.bfd) await this.#startBfd()
  }

  /** Its sockets are at one place for all of the machine, but for those of a name of their own; it reads no file. */
  async #startManaged(zebra: string): Promise<void> {
    const name = basename(this.netns)
    const runtime = join("/var/run/frr", name)
    await run("install", "-d", "-o", "frr", "-g", "frr", runtime)
    this.world.defer(() => run("rm", "-rf", runtime))
    await this.startDaemon("mgmtd", "", "-N", name)
    await this.startDaemon("zebra", zebra, "-N", name)
    const interfaces = zebra.match(/^interface .*\n(?: .*\n)*/gm) ?? []
    if (interfaces.length > 0) await this.configure(...interfaces.join("").trimEnd().split("\n"))
  }

  /** FRR 10 has a daemon of its own for what zebra knows of interfaces. */
  async #hasManager(): Promise<boolean> {
    return (await exec("mgmtd", ["--version"], { env: this.#env }).catch(() => ({ code: 127 }))).code === 0
  }

  /** FRR 8 has a control socket for BFD, at one place for all of the machine unless told otherwise; FRR 10 has none. */
  async #startBfd(): Promise<void> {
    const { stdout } = await exec("bfdd", ["--help"], { env: this.#env })
    const socket = stdout.includes("--bfdctl") ? ["--bfdctl", join(this.directory, "bfdd.sock")] : []
    await this.startDaemon("bfdd", "hostname router\n", ...socket)
  }

  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, PATH: `${process.env["PATH"] ?? ""}:${FRR}` }
  }

  /** As Debian's frrinit does, in a folder which the user frr must be able to write. */
  async startDaemon(daemon: FrrDaemon, config: string, ...more: ReadonlyArray<string>): Promise<void> {
    const directory = this.directory
    const [file, log] = [join(directory, `${daemon}.conf`), join(directory, `${daemon}.log`)]
    writeFileSync(file, config)
    await run("chown", "-R", "frr:frr", directory)
    const flags = [
      daemon === "mgmtd" ? [] : ["-f", file],
      ["-i", join(directory, `${daemon}.pid`)],
      ["-z", join(directory, "zserv.api")],
      ["--vty_socket", directory],
      ["-A", "127.0.0.1"],
      ["-P", "0"],
      more
    ]
    const child = this.world.spawn([daemon, ...flags.flat()], { netns: this.netns, log, env: this.#env })
    this.#daemons.set(daemon, child)
    await until(`${daemon} answers`, async () => {
      if (child.exitCode !== null) throw new Error(readFileSync(log, "utf8"))
      return (await exec("vtysh", ["--vty_socket", directory, "-d", daemon, "-c", "show version"])).code === 0
    })
  }

  /** Ends every daemon; with SIGKILL the kernel keeps zebra's routes. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const daemons = [...this.#daemons.values()]
    this.#daemons.clear()
    await Promise.all(daemons.map((daemon) => end(daemon, signal)))
  }

  /** Ends one daemon. */
  async stopDaemon(daemon: FrrDaemon, signal: NodeJS.Signals): Promise<void> {
    const child = this.#daemons.get(daemon)
    this.#daemons.delete(daemon)
    if (child !== undefined) await end(child, signal)
  }

  /** FRR's own answer to a `show … json`. */
  // oxlint-disable-next-line typescript/no-explicit-any -- FRR's JSON; whoever reads it fails if it is not as expected
  async vtysh(command: string): Promise<any> {
    return JSON.parse(await run("vtysh", "--vty_socket", this.directory, "-c", command))
  }

  /** FRR's configuration mode, line by line. */
  async configure(...lines: ReadonlyArray<string>): Promise<void> {
    const commands = ["configure terminal", ...lines].flatMap((line) => ["-c", line])
    await run("vtysh", "--vty_socket", this.directory, ...commands)
  }

  /** Waits until so many BFD sessions are up. */
  bfdUp(count: number): Promise<true> {
    return until(`${count} BFD sessions`, async () => {
      const peers: ReadonlyArray<{ readonly status: string }> = await this.vtysh("show bfd peers json")
      return peers.filter(({ status }) => status === "up").length === count
    }, 20)
  }

  /** Prefixes in the BGP table that FRR has a best path for, with their next hops. */
  async bgpTable(family: 4 | 6): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    const { routes = {} } = await this.vtysh(`show bgp ipv${family} unicast json`)
    return new Map(
      Object.entries<ReadonlyArray<{ nexthops: ReadonlyArray<{ ip: string }> }>>(routes)
        .map(([prefix, paths]) => [prefix, paths.flatMap(({ nexthops }) => nexthops.map(({ ip }) => ip))])
    )
  }
}
