/** Whatever its surroundings say to the agent, nothing that steers a terminal comes out of it: by the real commands. */
import { mkdirSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { AGENT } from "../../lab/cni.ts"
import { exec } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

/** Clears the screen, writes the clipboard (OSC 52), C1's CSI, turns text round, isolates it, hides it. */
const HOSTILE = "\u001b[2J\u001b]52;c;ZXZpbA==\u0007\u009b31m\u202eabc\u2066\u200b"

// oxlint-disable-next-line no-control-regex -- that is what must not be there
const STEERS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u

/** As Node is run with `-e`: an API server that refuses everything, in words of its own. */
const REFUSING = `
  const message = ${JSON.stringify(HOSTILE)}
  require("node:http").createServer((request, response) => {
    response.writeHead(403, { "content-type": "application/json" })
    response.end(JSON.stringify({ kind: "Status", status: "Failure", message, code: 403 }))
  }).listen(8001, "127.0.0.1")`

const world = new World()
let node: AgentNode
const said: Array<readonly [what: string, text: string]> = []

/** Runs the command where the node is, and keeps what it said. */
const command = async (...args: ReadonlyArray<string>): Promise<string> => {
  const inNode = [`--net=/run/netns/${node.netns}`, process.execPath, AGENT, ...args]
  const { stderr, stdout } = await exec("nsenter", inNode)
  said.push([args.join(" "), stdout + stderr])
  return stdout + stderr
}

const withSocket = (...args: ReadonlyArray<string>) => command(...args, "--socket", node.socket)

/** What was said that steers a terminal, readably. */
const harmful = () => said.filter(([, text]) => STEERS.test(text)).map(([what, text]) => JSON.stringify([what, text]))

/** A control socket of BIRD's on which each answer is hostile. */
const hostileBird = (path: string): Promise<Server> =>
  new Promise((done) => {
    const server = createServer((connection) => {
      connection.on("error", () => undefined)
      connection.write(`0001 BIRD 2.0.12${HOSTILE} ready.\n`)
      connection.on("data", (data) => {
        const show = data.toString("utf8").startsWith("show")
        connection.write(show ? `9001 ${HOSTILE}\n` : `8002 /bird.conf:1:1 ${HOSTILE}\n`)
      })
    })
    server.listen(path, () => done(server))
  })

beforeAll(async () => {
  node = await AgentNode.open(world, { spec: { ...DUAL, [HOSTILE]: 1 }, flags: [] })
})
afterEach(() => {
  said.length = 0
})
afterAll(() => world.close())

describe("nothing that steers a terminal", () => {
  it("of BIRD, a NodeConfig, a pod or a runtime's arguments", async () => {
    mkdirSync(node.birdDirectory, { recursive: true })
    const bird = await hostileBird(join(node.birdDirectory, "bird.ctl"))
    world.defer(() => {
      bird.close()
      return Promise.resolve()
    })
    await node.start()
    const rejected = await withSocket("status")
    assert.match(rejected, /NOT in force|none/)
    node.writeNodeConfig({ ...DUAL, anycast: { allowedCIDRs: ["192.0.2.0/24"] } })
    await until("served", async () => (await node.cni("STATUS", "")).code === 0)
    const pod = await node.pod()
    node.writePod("web", { annotations: { anycast: HOSTILE, cidr4: HOSTILE, "ip-algo": HOSTILE } })
    for (const name of ["web", HOSTILE.replaceAll(/[;=]/g, "")]) {
      const { code, json } = await node.cni("ADD", pod, { pod: name })
      said.push([`ADD ${name}`, code === 0 ? "" : `${json["msg"]} ${json["details"] ?? ""}`])
      await node.cni("DEL", pod, { pod: name })
    }
    await until("BIRD is heard", () => node.readLog().includes("bird.conf:1:1") || node.readLog().includes("9001"))
    for (const tool of ["status", "withdraw"]) await withSocket(tool)
    await withSocket("status", "--json")
    await withSocket("why", "192.0.2.1")
    said.push(["log", node.readLog()], ["readyz", await node.metrics("/readyz")], ["metrics", await node.metrics()])
    await node.stop()
    assert.isNotEmpty(said)
    assert.deepStrictEqual(harmful(), [])
  })

  it("of files on the node, or of paths", async () => {
    const [confDir, binDir] = ["net.d", "bin"].map((name) => join(node.directory, name)) as [string, string]
    for (const folder of [confDir, binDir]) mkdirSync(folder)
    writeFileSync(
      join(confDir, `00-${HOSTILE.replaceAll("/", "")}.conflist`),
      JSON.stringify({ name: HOSTILE, plugins: [{ type: HOSTILE }] })
    )
    writeFileSync(join(confDir, "00-broken.conflist"), HOSTILE)
    const folders = ["--cni-conf-dir", confDir, "--cni-bin-dir", binDir]
    await command("doctor", ...folders, "--socket", join(node.directory, HOSTILE))
    await command("doctor", "--json", ...folders, "--socket", node.socket)
    await command("install-cni", "--only", "plugin", "--plugin", join(node.directory, HOSTILE), ...folders)
    await command(
      "install-cni",
      "--only",
      "conflist",
      "--wait",
      "1",
      ...folders,
      "--socket",
      join(node.directory, HOSTILE)
    )
    await command("install-cni", "--uninstall", ...folders)
    await command("status", "--socket", `/nowhere/${HOSTILE}`)
    await command("run", "--http", HOSTILE, "--standalone", node.config, "--socket", node.socket)
    assert.isNotEmpty(said)
    assert.deepStrictEqual(harmful(), [])
  })

  it("of an API server", async () => {
    node = await AgentNode.open(world)
    world.spawn([process.execPath, "-e", REFUSING], { netns: node.netns })
    node.kubeconfig = join(node.directory, "kubeconfig")
    const cluster = { name: "c", cluster: { server: "http://127.0.0.1:8001", "insecure-skip-tls-verify": true } }
    const context = { name: "c", context: { cluster: "c", user: "u" } }
    const config = {
      "current-context": "c",
      clusters: [cluster],
      contexts: [context],
      users: [{ name: "u", user: { token: "t" } }]
    }
    writeFileSync(node.kubeconfig, JSON.stringify({ apiVersion: "v1", kind: "Config", ...config }))
    await node.start()
    await until("it is refused", async () => (await withSocket("status")).includes("403"))
    await withSocket("status", "--json")
    const { json } = await node.cni("ADD", await node.pod(), { pod: "web" })
    said.push(["ADD", `${json["msg"]} ${json["details"] ?? ""}`])
    said.push(["log", node.readLog()], ["readyz", await node.metrics("/readyz")])
    await node.stop()
    assert.isNotEmpty(said)
    assert.deepStrictEqual(harmful(), [])
  })
})
