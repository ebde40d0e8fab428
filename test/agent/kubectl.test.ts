/** `kubectl flock` as it is built, with a kubectl that says what a cluster said. */
import { execFileSync, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"

const root = resolve(import.meta.dirname, "../..")
const plugin = join(root, "dist/kubectl-flock")

const pod = (node: string) => ({
  metadata: { name: `agent-${node}` },
  spec: { nodeName: node, containers: [{ name: "agent", image: "registry.example.org:5000/flock-agent:0.1.0" }] },
  status: { phase: "Running" }
})
const nodeConfig = (name: string, n: number, anycast: ReadonlyArray<object>) => ({
  metadata: { name },
  spec: { cidr4: `10.42.${n}.0/24` },
  status: { conditions: [{ type: "Ready", status: "True", reason: "FlockReady" }], sessions: "1/1", anycast }
})
const ADDRESS = "192.0.2.1"
const held = (state: string) => [{ address: ADDRESS, state, pods: ["shop/web"] }]
const why = (announced: boolean) => ({
  announced,
  answer: "",
  steps: announced ? [] : [{ step: "ready", ok: false, detail: "shop/web is not Ready" }]
})

describe("kubectl flock", () => {
  const folder = mkdtempSync(join(tmpdir(), "flock-kubectl-"))
  const log = join(folder, "log")

  const flock = (...args: ReadonlyArray<string>) => {
    writeFileSync(log, "")
    const env = { ...process.env, PATH: `${folder}:${process.env["PATH"]}` }
    const { status, stderr, stdout } = spawnSync(process.execPath, [plugin, ...args], { encoding: "utf8", env })
    return { code: status, stdout, stderr, asked: readFileSync(log, "utf8").trim().split("\n") }
  }

  beforeAll(() => {
    execFileSync(process.execPath, [join(root, "scripts/build.mjs")])
    const say = (name: string, object: unknown) => writeFileSync(join(folder, name), JSON.stringify(object))
    say("pods", { items: ["a", "b"].map(pod) })
    say("nodeconfigs", { items: [nodeConfig("a", 1, held("announced")), nodeConfig("b", 2, held("withdrawn"))] })
    say("why-a", why(true))
    say("why-b", why(false))
    const found = { severity: "error", check: "rp_filter", problem: "eth0 drops", remedy: "" }
    say("doctor-a", { findings: [] })
    say("doctor-b", { findings: [found] })
    say("sessions", { bird: { peers: [{ state: "Connect" }, { state: "Established" }] } })
    say("templates", {
      items: [{
        metadata: { name: "rack-a", generation: 2 },
        status: { failures: [{ node: "b", generation: 2, reason: "Unresolved", message: "no label" }] }
      }]
    })
    say("nodes", { items: [{ spec: { unschedulable: true } }] })
    const script = `#!/bin/sh
cd ${folder}
echo "$*" >>log
case "$*" in
*"get pods"*) cat pods ;;
*"get nodeconfigs"*) cat nodeconfigs ;;
*"get nodeconfigtemplates"*) cat templates ;;
*"get nodes"*) cat nodes ;;
*agent-a*" why "*) cat why-a ;;
*agent-b*" why "*) cat why-b; exit 1 ;;
*agent-a*doctor*) cat doctor-a ;;
*agent-b*doctor*) cat doctor-b; exit 1 ;;
*" withdraw"*) echo tor: shut ;;
*" restore"*) echo tor: open ;;
*" traffic --json"*) echo '{"forwardedPackets":10}' ;;
*" status --json"*) cat sessions; echo '{"bird":{"peers":[{"state":"Established"},{"state":"Established"}]}}' >sessions ;;
cordon*|uncordon*) echo "node/$2 $1ed" ;;
*) echo "Error from server (Forbidden): no such right" >&2; exit 1 ;;
esac
`
    writeFileSync(join(folder, "kubectl"), script)
    chmodSync(join(folder, "kubectl"), 0o755)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("status and anycast: tables for people, JSON for programs, no colours but on a terminal", () => {
    const { code, stdout } = flock("status")
    assert.strictEqual(code, 0)
    assert.match(stdout, /^NODE +READY[^\n]+\na +True +FlockReady +1\/1 [^\n]+ 1\/1 +- +0\.1\.0 /)
    assert.match(stdout, /\n\ntemplate rack-a: b: Unresolved: no label\n$/)
    assert.notInclude(stdout, "\x1b")
    assert.strictEqual(JSON.parse(flock("status", "--json").stdout)[1].node, "b")
    assert.match(flock("anycast").stdout, /192\.0\.2\.1 +1\/2 +a +announced +- +shop\/web\n +b +withdrawn/)
    assert.deepStrictEqual(
      JSON.parse(flock("anycast", "--json").stdout)[0].nodes.map((it: { readonly state: string }) => it.state),
      [
        "announced",
        "withdrawn"
      ]
    )
  })

  it("status --watch: again and again until it is interrupted", async () => {
    const env = { ...process.env, PATH: `${folder}:${process.env["PATH"]}` }
    const child = spawn(process.execPath, [plugin, "status", "--watch"], { env, stdio: ["ignore", "pipe", "inherit"] })
    const ended = once(child, "exit")
    const text = { all: "" }
    await new Promise<void>((done) => {
      child.stdout.on("data", (chunk) => {
        text.all += String(chunk)
        if (text.all.split("NODE ").length > 2) done()
      })
      child.on("exit", () => done())
    })
    child.kill("SIGINT")
    assert.deepStrictEqual(await ended, [0, null])
    assert.isAbove(text.all.split("NODE ").length, 2)
    assert.notInclude(text.all, "\x1b")
  })

  it("colours what is wrong on a terminal, where nobody asks for none", () => {
    const onTerminal = (more: object) => {
      const env = { ...process.env, ...more, PATH: `${folder}:${process.env["PATH"]}` }
      const command = `'${process.execPath}' '${plugin}' anycast`
      return execFileSync("script", ["-qec", command, "/dev/null"], { encoding: "utf8", env })
    }
    const lines = onTerminal({ NO_COLOR: undefined }).split(/\r?\n/)
    const withdrawn = lines.find((line) => line.includes("withdrawn"))
    assert.isTrue(withdrawn?.startsWith("\x1b[33m") && withdrawn.endsWith("\x1b[0m"), withdrawn)
    assert.strictEqual(lines.filter((line) => line.includes("\x1b[33m")).length, 1)
    assert.notInclude(onTerminal({ NO_COLOR: "1" }), "\x1b[33m")
  })

  it("why: one answer of both nodes; exit code 1 where nobody announces it", () => {
    const { code, stdout } = flock("why", ADDRESS)
    assert.deepStrictEqual([code, stdout], [
      0,
      `${ADDRESS} is announced by a.\n\n  b: ready: shop/web is not Ready\n`
    ])
    const nobody = flock("why", "198.51.100.7")
    assert.deepStrictEqual([nobody.code, nobody.stdout], [
      1,
      "198.51.100.7 is in no node's prefixes, and no pod has it.\n"
    ])
    assert.strictEqual(flock("why", "foo").code, 2)
  })

  it("drain: cordon, withdraw, wait; restore takes all of it back", () => {
    const { asked, code, stdout } = flock("drain", "a", "--cordon")
    assert.deepStrictEqual([code, stdout], [0, "node/a cordoned\ntor: shut\na: no traffic to its pods any more\n"])
    assert.deepStrictEqual(asked.slice(1, 3), [
      "cordon a",
      "exec -n flock-system agent-a -c agent -- flock-agent withdraw"
    ])
    const restored = "tor: open\na: 2 of 2 sessions Established\nnode/a uncordoned\n"
    assert.strictEqual(flock("restore", "a").stdout, restored)
    const missing = flock("drain", "c")
    assert.strictEqual(missing.code, 1)
    assert.match(missing.stderr, /^kubectl-flock: no agent runs on c: /)
  })

  it("doctor: every node's findings, exit code 1 with an error among them", () => {
    const { code, stdout } = flock("doctor")
    assert.strictEqual(code, 1)
    assert.match(stdout, /^NODE +SEVERITY +CHECK +PROBLEM\nb +error +rp_filter +eth0 drops\n$/)
    assert.deepStrictEqual([flock("doctor", "a").code, flock("doctor", "a").stdout], [
      0,
      "1 nodes, and nothing found\n"
    ])
  })

  it("says what it may not ask, in the API server's words, and passes on context and namespace", () => {
    const { asked, code, stderr } = flock("status", "--context", "prod", "-n", "net")
    assert.strictEqual(code, 0, stderr)
    assert.isTrue(asked.every((line) => line.startsWith("--context prod get ")))
    assert.isTrue(asked.some((line) => line.includes("-n net")))
    writeFileSync(join(folder, "pods"), JSON.stringify({ items: [] }))
    assert.include(flock("status", "-n", "net").stdout, "no agent's pod in namespace net: is flock in another one")
    rmSync(join(folder, "pods"))
    const refused = flock("status")
    assert.strictEqual(refused.code, 1)
    assert.match(refused.stderr, /^kubectl-flock: kubectl get pods /)
  })
})
