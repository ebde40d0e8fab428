/** The longest names that a runtime may use, from the plugin to the kernel and back. */
import { readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { addressesOf } from "../../lab/cni.ts"
import { World } from "../../lab/World.ts"
import { MAX_CONTAINER_ID, MAX_IFNAME } from "../../src/cni/spec.ts"

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: DUAL })
  await node.start()
})
afterEach(() => world.close())

const containerId = "c".repeat(MAX_CONTAINER_ID)
const ifName = "i".repeat(MAX_IFNAME)

const state = async () => JSON.parse((await node.tool("status", "--json")).stdout)

describe("the longest container ID and interface name", () => {
  // Kubernetes allows 253; the name is a file's here.
  it.each([["short", "web"], ["long", "p".repeat(240)]])(
    "of a pod of %s name: ADD, CHECK, a restart, lost records, DEL",
    async (_, pod) => {
      node.writePod(pod, {})
      const options = { pod, ifName, netns: `/run/netns/${await node.pod()}` }
      const result = await node.add(containerId, options)
      assert.deepStrictEqual(readdirSync(join(node.directory, "state/allocations")), [`${containerId}@${ifName}.json`])
      const check = { ...options, config: { prevResult: result } }
      assert.deepStrictEqual(await node.cni("CHECK", containerId, check), { code: 0, json: undefined })
      for (const lost of [false, true]) {
        await node.stop("SIGKILL")
        if (lost) rmSync(join(node.directory, "state"), { recursive: true })
        await node.start()
        const { allocations } = await state()
        assert.deepStrictEqual(
          allocations.map((a: { readonly containerId: string; readonly ifName: string }) => [a.containerId, a.ifName]),
          [[containerId, ifName]]
        )
        assert.deepStrictEqual([allocations[0].ipv6, allocations[0].ipv4], addressesOf(result))
      }
      assert.strictEqual((await node.cni("DEL", containerId, options)).code, 0)
      assert.deepStrictEqual([await node.links(), (await state()).allocations], [[], []])
    }
  )

  it("wait as a DEL for an agent that is away", async () => {
    await node.add(containerId, { ifName, netns: `/run/netns/${await node.pod()}` })
    await node.stop("SIGKILL")
    assert.strictEqual((await node.cni("DEL", containerId, { ifName })).code, 0)
    assert.include(readdirSync(join(node.directory, "del-queue")), `${containerId}@${ifName}.json`)
    await node.start()
    assert.deepStrictEqual([await node.links(), (await state()).allocations], [[], []])
    assert.deepStrictEqual(readdirSync(join(node.directory, "del-queue")), ["lock"])
  })

  it("are a byte longer: refused by whoever is asked, and nothing is left", async () => {
    const netns = `/run/netns/${await node.pod()}`
    const calls = [[`${containerId}c`, "eth0"], ["c1", `${ifName}i`]] as const
    const codes = (verb: string) =>
      Promise.all(calls.map(async ([id, name]) => (await node.cni(verb, id, { ifName: name, netns })).json.code))
    assert.deepStrictEqual([await codes("ADD"), await codes("DEL")], [[4, 4], [4, 4]])
    await node.stop()
    assert.deepStrictEqual([await codes("ADD"), await codes("DEL")], [[11, 11], [4, 4]])
    await node.start()
    assert.deepStrictEqual([await node.links(), (await state()).allocations], [[], []])
  })
})
