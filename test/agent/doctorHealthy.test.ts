/** doctor beside a running agent, as the README says: without flags it must find what the agent was told. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { AGENT } from "../../lab/cni.ts"
import { exec, inside } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Finding } from "../../src/doctor/facts.ts"

const world = new World()
let node: AgentNode
const folder = world.folder("doctor")
const [confDir, binDir] = [join(folder, "net.d"), join(folder, "bin")]

beforeAll(async () => {
  mkdirSync(confDir)
  mkdirSync(binDir)
  writeFileSync(join(binDir, "flock"), "")
  const bgp = { asn: 65001, peers: [{ address: "198.51.100.9", asn: 65000 }] }
  node = await AgentNode.open(world, {
    spec: { ...DUAL, bgp },
    flags: ["--cni-conf-dir", confDir, "--cni-bin-dir", binDir]
  })
  await node.start()
  await node.startBird()
  await until("the conflist", async () => (await exec("ls", [confDir])).stdout.includes("01-flock.conflist"))
})
afterAll(() => world.close())

const doctor = async () => {
  const { code, stdout } = await exec("nsenter", [
    `--net=/run/netns/${node.netns}`,
    process.execPath,
    AGENT,
    "doctor",
    "--json",
    "--socket",
    node.socket
  ])
  const findings: ReadonlyArray<Finding> = JSON.parse(stdout).findings
  return { code, findings, checks: findings.map(({ check, severity }) => `${severity} ${check}`) }
}

const nft = (text: string) => inside(node.netns, "nft", text)

describe("flock-agent doctor beside its agent", () => {
  it("looks where the agent looks, and knows its BIRD at whatever socket", async () => {
    await until("BIRD is up", async () => (await node.status()).bird.up)
    const { checks } = await doctor()
    for (const check of ["conflist-missing", "plugin-missing", "second-speaker", "firewall-missing", "rp-filter"]) {
      assert.notInclude(checks.join(), check)
    }
  })

  it("accuses no router of a session that cannot be while BIRD is down", async () => {
    assert.include((await doctor()).checks.join(), "peer-")
    await node.stopBird("SIGKILL")
    await until("BIRD is down", async () => !(await node.status()).bird.up)
    const { checks } = await doctor()
    assert.include(checks, "error bird")
    assert.notInclude(checks.join(), "peer-session")
    await node.startBird()
  })

  it("says, with status, what is wrong with the folder that stands for Kubernetes", async () => {
    const file = join(node.config, "nodeconfig.yaml")
    const good = readFileSync(file, "utf8")
    const away = `${node.config}.away`
    const said = async (what: string) => {
      await until(`status: ${what}`, async () => (await node.tool("status")).stdout.includes(what), 25)
      const { findings } = await doctor()
      assert.include(findings.filter(({ check }) => check === "nodeconfig").map(({ problem }) => problem).join(), what)
    }
    writeFileSync(file, "spec:\n\tcidr6: 3\n")
    await said("nodeconfig.yaml:2:1: Tabs are not allowed")
    writeFileSync(file, "")
    await said("the file is empty")
    writeFileSync(file, `${good}\n---\n${good}`)
    await said("the file has 2 documents")
    writeFileSync(file, good)
    rmSync(away, { recursive: true, force: true })
    renameSync(node.config, away)
    await said(`kept as it was: there is no folder ${node.config}`)
    renameSync(away, node.config)
    await until("it is read again", async () => (await node.status()).nodeConfig.unheard === undefined, 25)
    assert.notInclude((await doctor()).checks, "error nodeconfig")
  })

  it("sees policies that drop what is forwarded, of nftables and of iptables", async () => {
    assert.notInclude((await doctor()).checks, "warning forward-drop")
    await nft("table inet strict { chain f { type filter hook forward priority 0; policy drop; } ; }")
    await inside(node.netns, "iptables-nft", "-P", "FORWARD", "DROP")
    const { findings } = await doctor()
    const problem = findings.find(({ check }) => check === "forward-drop")?.problem ?? ""
    assert.include(problem, "inet strict f")
    assert.include(problem, "ip filter FORWARD")
    await nft("delete table inet strict")
    await inside(node.netns, "iptables-nft", "-P", "FORWARD", "ACCEPT")
    assert.notInclude((await doctor()).checks, "warning forward-drop")
  })

  it("sees those of iptables-legacy too, and makes no table of it by looking", async () => {
    const tables = async () =>
      (await inside(node.netns, "cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")).trim()
    assert.strictEqual(await tables(), "")
    await doctor()
    assert.strictEqual(await tables(), "")
    const problem = async () => (await doctor()).findings.find(({ check }) => check === "forward-drop")?.problem ?? ""
    // Rules of several sizes before the one that the policy is.
    for (const words of ["-p tcp --dport 80", "-m state --state NEW -m comment --comment long", "-s 192.0.2.0/24"]) {
      await inside(node.netns, "iptables-legacy", "-A", "FORWARD", ...words.split(" "), "-j", "ACCEPT")
    }
    assert.strictEqual(await problem(), "")
    await inside(node.netns, "iptables-legacy", "-P", "FORWARD", "DROP")
    assert.match(await problem(), /^the policy of iptables-legacy FORWARD is drop/)
    await inside(node.netns, "ip6tables-legacy", "-N", "CHAIN")
    await inside(node.netns, "ip6tables-legacy", "-P", "FORWARD", "DROP")
    assert.match(await problem(), /^the policy of iptables-legacy FORWARD, ip6tables-legacy FORWARD is drop/)
    await inside(node.netns, "iptables-legacy", "-P", "FORWARD", "ACCEPT")
    assert.match(await problem(), /^the policy of ip6tables-legacy FORWARD is drop/)
    assert.notInclude((await doctor()).checks, "info forward-legacy")
  })
})
