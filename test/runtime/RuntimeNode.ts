/**
 * A node for container runtimes: besides the network namespace a mount namespace, in which `/etc`, `/run`, `/opt` and
 * `/var/lib` are its own, and a process namespace, which ends every runtime, shim and container when its first process
 * ends. That one reads from the test's pipe until end of file: nothing outlives the test, however it dies.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode, DUAL, type NodeOptions } from "../../lab/AgentNode.ts"
import { DIST, PLUGINS } from "../../lab/cni.ts"
import { exec, type Outcome, run } from "../../lab/exec.ts"
import type { World } from "../../lab/World.ts"
import type { AllocationReport } from "../../src/socket/StatusReport.ts"

/**
 * `$1` is the node's directory; flock's default socket is in it. `/etc/cni` starts empty, and what runtimes write by
 * fixed path (libcni's cache, ctr's FIFOs, the namespaces of the CRI plugin) is gone with the namespace.
 */
const LAY_OUT = `
set -eu
cp -a /etc "$1/etc"
rm -rf "$1/etc/cni" "$1/etc/containers"
mount --bind "$1/etc" /etc
for folder in /run /opt /var/lib /dev/shm; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
mkdir -p /run/lock /run/netns /run/flock /opt/cni/bin /etc/cni/net.d /etc/containers
mount --bind "$1" /run/flock
echo ready
exec cat
`

/**
 * Arguments: {@link LAY_OUT}, the node's directory, a part of the names of its control groups. It ends when every process
 * of the node has, and has removed what a runtime was killed before removing.
 */
const KEEP = `
exec 3<&0
unshare --mount --pid --fork --kill-child --mount-proc sh -c "$1" sh "$2" <&3 3<&- &
echo $! >"$2/keeper.pid"
wait $!
set -e
find /sys/fs/cgroup -depth -type d -path "/sys/fs/cgroup/*$3*" -exec rmdir {} +
`

export class RuntimeNode extends AgentNode {
  static override async open(world: World, options: NodeOptions = { spec: DUAL }): Promise<RuntimeNode> {
    const node = new RuntimeNode(world, options)
    await node.setUp()
    return node
  }

  protected override async setUp(): Promise<void> {
    await super.setUp()
    const keeper = spawn("sh", ["-c", KEEP, "sh", LAY_OUT, this.directory, this.world.tag], {
      stdio: ["pipe", "pipe", "inherit"],
      // A signal to the test's process group is none to this one.
      detached: true
    })
    this.world.defer(() => this.#release(keeper))
    const [line] = await Promise.race([once(keeper.stdout, "data"), once(keeper, "exit")])
    if (String(line) !== "ready\n") throw new Error(`the node's mount namespace: ${line}`)
  }

  /** The agent ends by itself; the keeper takes down the rest. */
  async #release(keeper: ChildProcess): Promise<void> {
    await this.stop()
    const ended = keeper.exitCode === null && keeper.signalCode === null ? once(keeper, "exit") : undefined
    keeper.stdin?.end()
    await ended
    if (keeper.exitCode !== 0) throw new Error(`the node was not removed: exit ${keeper.exitCode}`)
  }

  /** nsenter's arguments; the process namespace's own files are read before the mounts are entered. */
  get namespaces(): ReadonlyArray<string> {
    const proc = `/proc/${readFileSync(join(this.directory, "keeper.pid"), "utf8").trim()}/ns`
    return [`--net=/run/netns/${this.netns}`, `--mount=${proc}/mnt`, `--pid=${proc}/pid_for_children`]
  }

  /** nsenter forks, and a signal to it does not reach the agent: the agent's own process ID is kept. */
  protected override launch(command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): ChildProcess {
    const keep = ["sh", "-c", `echo $$ >"$0" && exec "$@"`, join(this.directory, "agent.pid")]
    return this.world.spawn(["nsenter", ...this.namespaces, ...keep, ...command], { log: this.log, env })
  }

  protected override async signal(_agent: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    const pid = readFileSync(join(this.directory, "agent.pid"), "utf8").trim()
    await this.within("kill", "-s", signal.replace("SIG", ""), pid)
  }

  /** Runs a command where the runtimes run; fails with what it said. */
  within(command: string, ...args: ReadonlyArray<string>): Promise<string> {
    return run("nsenter", ...this.namespaces, command, ...args)
  }

  tryWithin(command: string, ...args: ReadonlyArray<string>): Promise<Outcome> {
    return exec("nsenter", [...this.namespaces, command, ...args])
  }

  /** A child that goes on; ended with the node at the latest. */
  spawnWithin(log: string, ...command: ReadonlyArray<string>): ChildProcess {
    return this.world.spawn(["nsenter", ...this.namespaces, ...command], { log })
  }

  /** The agent, and flock installed as on a real node, beside Debian's portmap, bandwidth and loopback. */
  override async start(): Promise<void> {
    await super.start()
    if (existsSync(join(this.directory, "etc/cni/net.d/01-flock.conflist"))) return
    const plugins = ["portmap", "bandwidth", "loopback"].map((name) => `${PLUGINS}/${name}`)
    await this.within("cp", ...plugins, "/opt/cni/bin/")
    await this.within(process.execPath, join(DIST, "flock-agent.mjs"), "install-cni")
  }

  async allocations(): Promise<ReadonlyArray<AllocationReport>> {
    return (await this.status()).allocations
  }

  /** All that an attachment may leave, by kind. */
  async traces(): Promise<Record<string, ReadonlyArray<string>>> {
    const nat = await this.within("iptables", "-t", "nat", "-S") + await this.within("ip6tables", "-t", "nat", "-S")
    return {
      allocations: (await this.allocations()).map((a) => a.containerId),
      links: await this.links(),
      routes: await this.routes(),
      queued: globSync(join(this.directory, "del-queue/*.json")),
      // One chain for each container, named by a hash; the plugin's three common ones stay.
      portmap: nat.split("\n").filter((line) => /CNI-(DN|SN)-/.test(line)),
      cached: (await this.within("sh", "-c", "ls /var/lib/cni/results 2>/dev/null || true")).split("\n").filter(Boolean)
    }
  }
}

/** None of an attachment's traces, as {@link RuntimeNode.traces} names them. */
export const NO_TRACE = { allocations: [], links: [], routes: [], queued: [], portmap: [], cached: [] }
