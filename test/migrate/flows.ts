/** Pings between pods of any node and CNI, each pair all along, and what of them was lost. */
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import type { Cluster, KubeObject } from "../../lab/Cluster.ts"
import { sandboxesOf } from "../../lab/containerd.ts"
import type { World } from "../../lab/World.ts"
import { addressesOf } from "../cluster/fixture.ts"

/** How a program runs in a pod's network namespace. */
export const inPod = async (cluster: Cluster, pod: KubeObject): Promise<ReadonlyArray<string>> => {
  const i = Number(String(pod.spec.nodeName).replace("node", ""))
  const sandbox = (await sandboxesOf(cluster, i)).findLast(({ uid }) => uid === pod.metadata.uid)
  if (sandbox === undefined) throw new Error(`${pod.metadata.name} has no sandbox`)
  const mounts = join(cluster.place.directory, `mntns/${i}`)
  return ["nsenter", `--mount=${mounts}`, "nsenter", `--net=/run/netns/${sandbox.netns}`]
}

interface Flow {
  readonly name: string
  readonly child: ChildProcess
  readonly text: () => string
}

export class Flows {
  readonly #cluster: Cluster
  readonly #world: World
  #flows: Array<Flow> = []

  constructor(cluster: Cluster, world: World) {
    this.#cluster = cluster
    this.#world = world
  }

  /** Every 10 ms a ping from one pod to each address of another, from now on. */
  async add(from: KubeObject, to: KubeObject): Promise<void> {
    const within = await inPod(this.#cluster, from)
    for (const address of addressesOf(to)) {
      const chunks: Array<Buffer> = []
      const child = this.#world.spawn([...within, "ping", "-n", "-i", "0.01", "-W", "2", address])
      child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk))
      const name = `${from.metadata.name} → ${to.metadata.name} (${address})`
      this.#flows.push({ name, child, text: () => Buffer.concat(chunks).toString() })
    }
  }

  /** Pings that were sent in all; a line for each flow that lost some. */
  async stop(): Promise<{ readonly pings: number; readonly lost: ReadonlyArray<string> }> {
    const flows = this.#flows
    this.#flows = []
    const results = await Promise.all(flows.map(async ({ child, name, text }) => {
      const ended = once(child, "close")
      child.kill("SIGINT")
      await ended
      const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text()) ?? []
      if (sent === undefined) throw new Error(`${name}: ${text()}`)
      return { name, sent: Number(sent), lost: Number(sent) - Number(received) }
    }))
    return {
      pings: results.reduce((sum, { sent }) => sum + sent, 0),
      lost: results.filter(({ lost }) => lost > 0).map(({ lost, name, sent }) => `${lost} of ${sent} pings ${name}`)
    }
  }
}
