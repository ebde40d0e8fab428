/** Many routes at once, while BIRD is busy with something else. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { address } from "../../src/domain/Ip.ts"
import { closeAll, established, open, peer6 } from "./birdNode.ts"

afterEach(closeAll)

/** More than the kernel keeps for a reader with its default buffer, and no more than a node may announce. */
const COUNT = 250

describe("a burst of routes that finds BIRD busy", () => {
  it("is seen whole, both ways, without waiting for BIRD's next scan of the kernel", { timeout: 60_000 }, async () => {
    const node = await open({ asn: 65001, peers: [peer6] })
    const all = Array.from({ length: COUNT }, (_, i) => address(`2001:db8:a::${(i + 1).toString(16)}`))
    await Effect.runPromise(node.bird.setExportSet(all))
    await Effect.runPromise(node.bird.requestReload)
    await established(node, 1)
    const batch = (verb: "add" | "del") => {
      const file = join(node.lan.directory, `${verb}.batch`)
      const line = (i: number) =>
        `route ${verb} 2001:db8:a::${(i + 1).toString(16)}/128 dev uplink proto 201 metric 512`
      writeFileSync(file, Array.from({ length: COUNT }, (_, i) => `${line(i)}\n`).join(""))
      return file
    }
    const burst = async (verb: "add" | "del") => {
      node.process.kill("SIGSTOP")
      await run("ip", "-n", node.netns, "-6", "-batch", batch(verb))
      node.process.kill("SIGCONT")
    }
    const exported = async () => {
      const [peer] = (await Effect.runPromise(node.bird.status)).peers
      return peer?.ipv6.announced ?? 0
    }
    // The node's own prefix is one more.
    await burst("add")
    await until("all are exported", async () => (await exported()) === COUNT + 1, 8)
    await burst("del")
    await until("all are withdrawn", async () => (await exported()) === 1, 8)
    // Of a burst that it did not see whole BIRD says: "Kernel dropped some netlink messages, will resync on next scan."
    assert.notInclude(readFileSync(join(node.directory, "bird.log"), "utf8"), "Kernel dropped")
  })
})
