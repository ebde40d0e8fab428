/** An agent on a kernel that has no nf_tables: it says so, and serves pods. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import type { ChildProcess } from "node:child_process"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { addressesOf } from "../../lab/cni.ts"
import { exec, inside } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const LAUNCHER = new URL("../../lab/withoutNftables.mjs", import.meta.url).pathname

class BareNode extends AgentNode {
  bare = true

  static override async open(world: World): Promise<BareNode> {
    const node = new BareNode(world, { spec: DUAL })
    await node.setUp()
    return node
  }

  protected override launch(command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): ChildProcess {
    return super.launch(this.bare ? [process.execPath, LAUNCHER, ...command] : command, env)
  }
}

const world = new World()
let node: BareNode
beforeAll(async () => {
  node = await BareNode.open(world)
  await node.start()
})
afterAll(() => world.close())

const tables = async () => (await inside(node.netns, "nft", "list", "tables")).split("\n").filter((line) => line !== "")

describe("a kernel without nf_tables", () => {
  it("is what the launcher makes: nft fails there, and the agent's threads have its filter", async () => {
    const { stderr } = await exec("nsenter", [
      `--net=/run/netns/${node.netns}`,
      process.execPath,
      LAUNCHER,
      "/usr/sbin/nft",
      "list",
      "tables"
    ])
    assert.match(stderr, /Protocol not supported/)
    assert.deepStrictEqual(await tables(), [])
  })

  it("is said by log, status and doctor, with what it lacks", async () => {
    const words = "open nf_tables: EPROTONOSUPPORT: this kernel needs CONFIG_NF_TABLES_INET"
    const { antiSpoofing } = await node.status()
    assert.strictEqual(antiSpoofing.state, "failed")
    assert.include(antiSpoofing.problem, words)
    assert.include((await node.tool("status")).stdout, `spoof   NOT in force: ${words}`)
    assert.include(node.readLog(), `pods' packets are not checked: ${words}`)
    const { code, stdout } = await node.tool("doctor", "--json")
    assert.strictEqual(code, 1)
    assert.include(stdout, "\"anti-spoofing\"")
    assert.include(stdout, words)
  })

  it("keeps no pod from its network, through CHECK, DEL, and a restart", async () => {
    const [one, other] = [await node.pod(), await node.pod()]
    const result = await node.add(one)
    const targets = addressesOf(await node.add(other))
    for (const target of targets) assert.isTrue(await node.ping(one, target))
    assert.strictEqual((await node.cni("CHECK", one, { config: { prevResult: result } })).code, 0)
    assert.strictEqual((await node.cni("STATUS")).code, 0)
    assert.strictEqual(
      await node.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:9476/readyz"),
      "200"
    )
    await node.stop("SIGKILL")
    await node.start()
    for (const target of targets) assert.isTrue(await node.ping(one, target))
    assert.strictEqual((await node.cni("DEL", one)).code, 0)
    assert.isBelow(node.readLog().split("pods' packets are not checked").length - 1, 3)
  })

  it("is over with the next kernel", async () => {
    await node.stop()
    node.bare = false
    await node.start()
    await until("on", async () => (await node.status()).antiSpoofing.state === "on")
    assert.includeMembers(await tables(), ["table inet flock", "table arp flock"])
  })
})
