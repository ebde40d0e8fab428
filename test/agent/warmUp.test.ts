/** Before it serves, an agent makes pods in a world of its own; of those nothing is to be seen. */
import { existsSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { run } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const FAILED = "warming up failed"

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: DUAL, env: { FLOCK_LOG_LEVEL: "debug" } })
})
afterEach(() => world.close())

const folder = () => join(node.stateDirectory, "warm-up")

/** Network namespaces that the agent holds open, by descriptor. */
const heldNamespaces = (): ReadonlyArray<string> => {
  const fds = `/proc/${node.agent?.pid}/fd`
  return readdirSync(fds).flatMap((fd) => {
    try {
      return readlinkSync(join(fds, fd))
    } catch {
      return []
    }
  }).filter((target) => target.startsWith("net:["))
}

it("nothing of it stays, in kernel, records, metrics or log", async () => {
  // What an agent left that was killed in the middle of it.
  mkdirSync(join(folder(), "allocations"), { recursive: true })
  writeFileSync(join(folder(), "allocations/warm-up-0@eth0.pending"), "{}")
  await node.start()
  await until("the warm-up is over", () => !existsSync(folder()) && new Set(heldNamespaces()).size === 1, 20)
  assert.notInclude(node.readLog(), FAILED)
  assert.notInclude(node.readLog(), "warm-up-")
  assert.deepStrictEqual(await node.links(), [])
  assert.deepStrictEqual(await node.routes(), [])
  assert.deepStrictEqual((await node.status()).allocations, [])
  assert.deepStrictEqual(readdirSync(join(node.stateDirectory, "allocations")), [])
  const metrics = await node.metrics()
  for (const verb of ["ADD", "DEL"]) {
    assert.match(metrics, new RegExp(`^flock_cni_calls_total\\{[^}]*verb="${verb}"[^}]*\\} 0$`, "m"))
    assert.notMatch(metrics, new RegExp(`^flock_cni_calls_total\\{[^}]*verb="${verb}"[^}]*\\} [1-9]`, "m"))
  }
  // The pool is whole: the first pod gets the first address.
  assert.strictEqual((await node.attachedPod()).v4, "10.77.0.2")
})

it("an agent serves that cannot do it", async () => {
  mkdirSync(folder(), { recursive: true })
  await run("mount", "-t", "tmpfs", "tmpfs", folder())
  try {
    await node.start()
    assert.include(node.readLog(), FAILED)
    await node.attachedPod()
  } finally {
    await run("umount", "--lazy", folder())
  }
})
