/** A roll-back onto a node whose agent wrote a newer format: nothing of it is destroyed, nothing is given twice, pods stay. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { AgentNode, DUAL, HOST } from "../../lab/AgentNode.ts"
import { addressesOf } from "../../lab/cni.ts"
import { exec } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const ANYCAST = "192.0.2.1"

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: { ...DUAL, anycast: { allowedCIDRs: ["192.0.2.0/24"] } } })
  await node.start()
})
afterEach(() => world.close())

const folder = () => join(node.directory, "state/allocations")

const files = (): Readonly<Record<string, string>> =>
  Object.fromEntries(readdirSync(folder()).map((name) => [name, readFileSync(join(folder(), name), "utf8")]))

/** Pings its node every 10 ms until asked how many were lost. */
const pinging = (pod: string) => {
  const target = HOST[0]
  const ping = exec("nsenter", [`--net=/run/netns/${pod}`, "ping", "-i", "0.01", "-c", "400", "-q", target])
  return async () => assert.match((await ping).stdout, / 0% packet loss/)
}

/** Two pods; the second has an anycast address that is announced. */
const twoPods = async () => {
  const [plain, announced] = [await node.pod(), await node.pod()]
  node.writePod("web", { uid: "u1", ready: true, annotations: { anycast: ANYCAST } })
  const given = new Map<string, ReadonlyArray<string>>([[plain, addressesOf(await node.add(plain))]])
  const options = { pod: "web", uid: "u1" }
  await until("the agent has read the pod's file", async () => {
    const { code, json } = await node.cni("ADD", announced, options)
    given.set(announced, code === 0 ? addressesOf(json) : [])
    const status = await node.status()
    if (status.announcements.length > 0) return true
    await node.cni("DEL", announced, options)
    return false
  })
  await until("it is installed", async () => (await node.routes(201)).length === 1)
  return { plain, announced, given }
}

const primaries = (all: ReadonlyArray<string>) => all.filter((address) => address !== ANYCAST)

describe("a newer agent's state", () => {
  it("a record: its pod is served and announced, its addresses are its own, the file stays, and the agent says so", async () => {
    const { announced, given, plain } = await twoPods()
    const lossless = pinging(announced)
    await node.stop()
    const name = `${announced}@eth0.json`
    const { ipv4, ipv6, version: _, ...rest } = JSON.parse(files()[name] ?? "")
    const newer = JSON.stringify({ version: 2, by: "0.3.0", primaries: [ipv6, ipv4], ...rest })
    writeFileSync(join(folder(), name), newer)
    // of a pod that has gone: only the record says whose the next address is
    const gone = JSON.stringify({ version: 2, primaries: ["10.77.0.4"] })
    writeFileSync(join(folder(), "gone@eth0.json"), gone)
    await node.start()
    const unchanged = () => {
      const now = files()
      assert.deepStrictEqual([now[name], now["gone@eth0.json"]], [newer, gone])
    }
    unchanged()
    const status = await node.status()
    assert.deepStrictEqual(
      status.allocations.map(({ containerId, ipv4 }) => [containerId, ipv4]).toSorted(),
      [...given].map(([pod, all]) => [pod, all.find((address) => address.startsWith("10."))]).toSorted()
    )
    assert.deepStrictEqual(
      (status.newerState ?? []).map((words) => words.split("/").at(-1)?.split(":")[0]).toSorted(),
      [
        `${name} is of format 2, and flock 0.1.0 knows 1`,
        "gone@eth0.json is of format 2, and flock 0.1.0 knows 1"
      ].toSorted()
    )
    assert.match((await node.tool("status")).stdout, /state {3}.*@eth0\.json is of format 2.*Run flock 0\.3\.0 again/)
    assert.include((await node.tool("doctor", "--json")).stdout, "newer-state")
    assert.match(await node.metrics(), /^flock_unreadable_records\{kind="newer"\} 2$/m)
    assert.strictEqual(await node.metrics("/readyz"), "ok\n")
    assert.lengthOf(node.readLog().split("\n").filter((line) => line.includes("is of format 2")), 2)

    // announced as before, and still by its pod's readiness
    assert.lengthOf(await node.routes(201), 1)
    node.writePod("web", { uid: "u1", ready: false, annotations: { anycast: ANYCAST } })
    await until("withdrawn", async () => (await node.routes(201)).length === 0)
    await lossless()

    // the pod goes while the older agent is there: the record stays, and its addresses with it
    assert.strictEqual((await node.cni("DEL", announced, { pod: "web", uid: "u1" })).code, 0)
    assert.strictEqual((await node.cni("DEL", announced, { pod: "web", uid: "u1" })).code, 0)
    const refused = await node.cni("ADD", announced, { pod: "web", uid: "u1" })
    assert.match(refused.json.msg, /@eth0\.json: it is of format 2/)
    const taken = [...primaries(given.get(announced) ?? []), ...primaries(given.get(plain) ?? []), "10.77.0.4"]
    for (let i = 0; i < 3; i++) {
      const next = addressesOf(await node.add(await node.pod()))
      assert.deepStrictEqual(next.filter((address) => taken.includes(address)), [])
      taken.push(...next)
    }
    unchanged()
    // and once more, with nothing of it in the kernel
    await node.stop("SIGKILL")
    await node.start()
    assert.notInclude(taken, addressesOf(await node.add(await node.pod()))[1])
    unchanged()
  })

  it("the whole folder: pods keep their network, none is added, nothing is written, and a roll-out stops here", async () => {
    const { announced, plain } = await twoPods()
    await node.stop()
    writeFileSync(join(folder(), "format"), JSON.stringify({ version: 2, by: "0.3.0" }))
    writeFileSync(join(folder(), "index.json"), "of another shape")
    const before = files()
    const lossless = pinging(plain)
    await node.start()
    assert.lengthOf((await node.status()).allocations, 2)
    assert.lengthOf(await node.routes(201), 1)
    // STATUS would have every pod of the node evicted
    assert.deepStrictEqual(await node.cni("STATUS"), { code: 0, json: undefined })
    assert.match(await node.metrics("/readyz"), /allocations\/format is of format 2/)
    const refused = await node.cni("ADD", await node.pod())
    assert.strictEqual(refused.json.code, 5)
    assert.match(refused.json.msg, /allocations\/format: it is of format 2, .*until flock 0\.3\.0 runs again/)
    await lossless()
    assert.strictEqual((await node.cni("DEL", announced, { pod: "web", uid: "u1" })).code, 0)
    assert.strictEqual((await node.cni("GC", "", { config: { "cni.dev/valid-attachments": [] } })).code, 0)
    assert.lengthOf((await node.status()).allocations, 0)
    assert.deepStrictEqual(files(), before)
  })
})
