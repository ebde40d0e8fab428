import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DIST } from "../../lab/cni.ts"
import { exec, run } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Finding } from "../../src/doctor/facts.ts"

/** A host as Calico left it, in a network namespace: nothing of the machine that runs the test shows in it. */
const world = new World()
const netns = world.netns("node")
const folder = world.folder("doctor")
const confDir = join(folder, "net.d")

const doctor = (...flags: ReadonlyArray<string>) =>
  exec("nsenter", [
    `--net=/run/netns/${netns}`,
    process.execPath,
    join(DIST, "flock-agent.mjs"),
    "doctor",
    `--socket=${join(folder, "agent.sock")}`,
    `--cni-conf-dir=${confDir}`,
    `--cni-bin-dir=${join(folder, "bin")}`,
    ...flags
  ])

beforeAll(() => {
  mkdirSync(confDir)
  mkdirSync(join(folder, "bin"))
})
afterAll(() => world.close())

describe("flock-agent doctor", () => {
  it("has no complaint about an empty host that flock is not on yet", async () => {
    const { code, stderr, stdout } = await doctor()
    assert.strictEqual(code, 0, stderr + stdout)
    assert.notMatch(stdout, /^error/m)
    assert.match(stdout, /no agent answers/)
  })

  it("finds what Calico left, a second BIRD and a conflist in front, and exits with 1", async () => {
    await run("ip", "-n", netns, "link", "add", "cali0a1b2c3d4e5", "type", "veth", "peer", "name", "pod0")
    await run("ip", "-n", netns, "link", "set", "cali0a1b2c3d4e5", "up")
    await run("ip", "-n", netns, "route", "add", "10.42.1.5/32", "dev", "cali0a1b2c3d4e5")
    await run("ip", "-n", netns, "route", "add", "2001:db8:1::5/128", "dev", "cali0a1b2c3d4e5")
    writeFileSync(join(confDir, "00-calico.conflist"), "{}")
    writeFileSync(join(confDir, "01-flock.conflist"), JSON.stringify({ plugins: [{ type: "flock" }] }))
    const config = join(folder, "bird.conf")
    writeFileSync(config, "router id 192.0.2.9;\nprotocol device { }\n")
    const bird = ["/usr/sbin/bird", "-f", "-c", config, "-s", join(folder, "other.ctl")]
    world.spawn(bird, { netns, log: join(folder, "bird.log") })
    const findings = await until("the second BIRD", async () => {
      const { code, stdout } = await doctor("--json")
      assert.strictEqual(code, 1)
      const all: ReadonlyArray<Finding> = JSON.parse(stdout).findings
      return all.some(({ check }) => check === "second-speaker") && all
    })
    const of = (check: string) => findings.find((finding) => finding.check === check)
    assert.include(of("second-speaker")?.problem, join(folder, "other.ctl"))
    assert.include(of("conflist-order")?.problem, "00-calico.conflist")
    assert.include(of("calico-leftovers")?.problem, "10.42.1.5/32 dev cali0a1b2c3d4e5")
    assert.include(of("calico-leftovers")?.problem, "2001:db8:1::5/128 dev cali0a1b2c3d4e5")
    assert.include(of("plugin-missing")?.problem, join(folder, "bin"))
    assert.strictEqual(of("agent")?.severity, "error")
    assert.deepStrictEqual(findings.filter(({ remedy }) => remedy === ""), [])
  })

  it("knows flock's own BIRD by its control socket", async () => {
    assert.include((await doctor("--json")).stdout, "second-speaker")
    const { stdout } = await doctor("--json", `--bird-socket=${join(folder, "other.ctl")}`)
    assert.notInclude(stdout, "second-speaker")
  })
})
