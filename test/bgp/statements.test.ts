/** What status, why and the metrics say of an address, against the router's own table. */
import { afterAll, afterEach, assert, beforeAll, describe, it } from "@effect/vitest"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../lab/exec.ts"
import { node6, ROUTER6 } from "../../lab/Lan.ts"
import { ANYCAST4, ANYCAST6, Network, nodeSpec } from "../../lab/Network.ts"
import type { Pod } from "../../lab/Pod.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const BOTH = [ANYCAST6, ANYCAST4] as const

const world = new World()
let lab: Network
let pod: Pod

const socket = () => join(lab.node(0).birdDirectory, "bird.ctl")
const birdc = (...command: ReadonlyArray<string>) => run("birdc", "-s", socket(), ...command)

const said = async () => {
  const { announcements } = await lab.node(0).status()
  const metric = async (name: string) =>
    Number(new RegExp(`^flock_anycast_${name} (\\S+)$`, "m").exec(await lab.node(0).metrics())?.[1])
  const answers = await Promise.all(BOTH.map(async (address) => {
    const { code, stdout } = await lab.node(0).tool("why", "--json", address)
    return { code, ...JSON.parse(stdout) }
  }))
  return {
    states: BOTH.map((address) => announcements.find((it) => it.address === address)?.state),
    exportedTo: BOTH.map((address) => announcements.find((it) => it.address === address)?.exportedTo.length),
    answers,
    gauges: [await metric("installed"), await metric("announced")]
  }
}

/** In the router's BGP table, IPv6 first. */
const inRouter = async () => [
  (await lab.lan.bgpTable(6)).has(`${ANYCAST6}/128`),
  (await lab.lan.bgpTable(4)).has(`${ANYCAST4}/32`)
]

/** Waits for the router, then holds every statement to its table. */
const agree = async (six: boolean, four: boolean, otherwise: "installed" | "withdrawn" = "installed") => {
  await until(`the router has ${six} ${four}`, async () => {
    const [a, b] = await inRouter()
    return a === six && b === four
  }, 20)
  return until("every statement agrees with the router", async () => {
    const { answers, exportedTo, gauges, states } = await said()
    assert.deepStrictEqual(states, [six, four].map((has) => has ? "announced" : otherwise))
    assert.deepStrictEqual(
      answers.map(({ announced, code }) => [announced, code]),
      [six, four].map((has) => [has, has ? 0 : 1])
    )
    assert.deepStrictEqual(gauges, [otherwise === "installed" ? 2 : 0, Number(six) + Number(four)])
    assert.deepStrictEqual(exportedTo.map((count) => (count ?? 0) > 0), [six, four])
    return answers
  })
}

/** Node 0's session with the router's IPv6 address. */
const session6 = async () => {
  const { bird } = await lab.node(0).status()
  return bird.peers.find(({ address }) => address === ROUTER6) ?? assert.fail("no peer")
}

const stopOf = (answer: { readonly steps: ReadonlyArray<{ readonly step: string; readonly ok: unknown }> }) =>
  answer.steps.find(({ ok }) => ok === false)?.step

describe("what is said of an address that a pod has", () => {
  beforeAll(async () => {
    lab = await Network.open(world, { nodes: 1 })
    pod = await lab.pod(0, "a", { anycast: BOTH })
  }, 60_000)
  afterAll(() => world.close(), 30_000)

  afterEach(async () => {
    pod.set({ ready: true })
    await agree(true, true)
  })

  it("is announced while the pod is Ready, and ends with what only the router knows", async () => {
    pod.set({ ready: true })
    const answers = await agree(true, true)
    assert.deepStrictEqual(answers.map(({ steps }) => steps.at(-1).step), ["router", "router"])
    const [, command = ""] = /"(show bgp [^"]*)"/.exec(answers[0].steps.at(-1).detail) ?? []
    assert.isAtLeast(
      (await lab.lan.vtysh(`${command} json`)).paths.length,
      1,
      "the command that it names shows the route"
    )
    pod.set({ ready: false })
    await agree(false, false, "withdrawn")
  })

  it("is not announced while the node is withdrawn, and the node says by whom", async () => {
    await lab.node(0).tool("withdraw", "--now")
    const answers = await agree(false, false)
    assert.deepStrictEqual(answers.map(stopOf), ["session", "session"])
    assert.match(answers[0].answer, /flock-agent restore/)
    assert.match(await lab.node(0).metrics("/readyz"), /^withdrawn by an operator/)
    await lab.node(0).tool("restore")
  })

  it("is announced by one family where the other's session is down", async () => {
    await lab.lan.configure("router bgp 65000", "neighbor 198.51.100.11 shutdown")
    const answers = await agree(true, false)
    assert.strictEqual(stopOf(answers[1]), "announced")
    assert.match(answers[1].answer, /198\.51\.100\.1 \(AS65000\) is/)
    await lab.lan.configure("router bgp 65000", "no neighbor 198.51.100.11 shutdown")
  })

  it("is announced again after another writer deleted its route", async () => {
    await lab.node(0).ip("-6", "route", "del", ANYCAST6, "proto", "201")
    assert.lengthOf(await agree(true, true), 2)
  })

  it("is not announced while another writer holds BIRD's kernel protocol", async () => {
    await birdc("disable", "kernel6")
    const answers = await agree(false, true)
    assert.strictEqual(stopOf(answers[0]), "announced")
    await birdc("enable", "kernel6")
  })

  it("keeps the router's NOTIFICATION, which the next error would hide", async () => {
    const neighbor = ["router bgp 65000", "address-family ipv6 unicast", `neighbor ${node6(0)} maximum-prefix 1`]
    await lab.lan.configure(...neighbor)
    const message = "Maximum number of prefixes reached"
    await until("a later error", async () => (await session6()).lastError.startsWith("Socket: "), 20)
    const { lastNotification } = await session6()
    assert.deepInclude(lastNotification, { direction: "received", message })
    assert.closeTo(Date.parse(lastNotification?.at ?? ""), Date.now(), 20_000)
    const answers = await agree(false, true)
    assert.include(answers[0].answer, `received at ${lastNotification?.at}: ${message}`)
    assert.include((await lab.node(0).tool("status")).stdout, message)
    const { stdout } = await lab.node(0).tool("doctor", "--bird-socket", socket())
    assert.match(stdout, /peer-session: .*Maximum number of prefixes reached/)
    await lab.lan.configure(...neighbor.slice(0, 2), `no neighbor ${node6(0)} maximum-prefix 1`)
    await run("vtysh", "--vty_socket", lab.lan.directory, "-c", `clear bgp ${node6(0)}`)
  })

  it("is not in an export set that BIRD does not run, whatever is wanted", async () => {
    const file = join(lab.node(0).directory, "other.conf")
    const conf = readFileSync(lab.node(0).conf, "utf8")
    const other = conf.replaceAll(`${ANYCAST6}/128`, "2001:db8:a::99/128")
    writeFileSync(file, other.replace(/flock_revision = "\w+"/, "flock_revision = \"other\""))
    // The agent puts its own back every 15 s, and a busy machine may not have heard all statements by then.
    const again = setInterval(() => void birdc("configure", `"${file}"`).catch(() => undefined), 1000)
    const answers = await agree(false, true).finally(() => clearInterval(again))
    assert.strictEqual(stopOf(answers[0]), "export-set")
    assert.include(answers[0].answer, "not in the one that BIRD runs")
    // Any edit makes the agent compare at once; without one it is 15 s.
    lab.node(0).writeNodeConfig({ ...nodeSpec(0), mtu: 1400 })
  })
})
