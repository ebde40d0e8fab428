import { assert, describe, it } from "@effect/vitest"
import { readFile, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { encodeError, encodeResult, MAX_LINE } from "../../src/domain/Wire.ts"
import { bin, CONFIG, errorOf, fakeAgent, hasty, makePlace, reply, run, SOURCES, STATUS_WAIT } from "./harness.ts"

const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]
const SUPPORTED = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]

describe("with an agent", () => {
  it.each(VERBS)("%s: passes everything on and prints the result", async (op) => {
    const { socket } = makePlace()
    const result = { cniVersion: "1.0.0", ips: [{ address: "2001:db8::1/128" }], dns: {}, note: "ü\n\"}{\\" }
    await using agent = await fakeAgent(socket, reply(encodeResult(result)))
    const { code, stdout } = await run(bin, { op, socket })
    assert.strictEqual(code, 0)
    assert.strictEqual(stdout, `${JSON.stringify(result)}\n`)
    assert.deepStrictEqual(agent.requests(), [{
      op,
      containerId: "c1",
      netns: "/run/netns/x",
      ifName: "eth0",
      args: "K8S_POD_NAME=a",
      path: "/opt/cni/bin",
      config: CONFIG
    }])
    assert.match(agent.lines[0] ?? "", /^[^\n]*\n$/)
  })

  it("prints nothing for a verb without output", async () => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, reply(encodeResult(null)))
    assert.deepStrictEqual(await run(bin, { op: "DEL", socket }), { code: 0, stdout: "" })
  })

  it("prints the agent's error as it is, and fails", async () => {
    const { socket } = makePlace()
    const error = { cniVersion: "0.4.0", code: 107, msg: "no \"free\" address\n", details: "10.42.1.0/24" }
    await using _ = await fakeAgent(socket, reply(encodeError(error)))
    const { code, stdout } = await run(bin, { op: "ADD", socket })
    assert.strictEqual(code, 1)
    assert.strictEqual(stdout, `${JSON.stringify(error)}\n`)
  })

  it("passes the largest result, however small its pieces", async () => {
    const { socket } = makePlace()
    const frame = encodeResult({ pad: "" }).length
    const line = encodeResult({ pad: "x".repeat(MAX_LINE - frame) })
    assert.strictEqual(line.length, MAX_LINE)
    await using _ = await fakeAgent(socket, reply(line))
    const { code, stdout } = await run(bin, { op: "ADD", socket })
    assert.strictEqual(code, 0)
    assert.strictEqual(stdout.length, MAX_LINE - "{\"result\":}".length)
  })

  it("puts together an answer that comes byte by byte", async () => {
    const { socket } = makePlace()
    const line = Buffer.from(encodeResult({ cniVersion: "1.0.0" }))
    await using _ = await fakeAgent(socket, (peer) => {
      const next = (i: number) => {
        if (i < line.length) peer.write(line.subarray(i, i + 1), () => setImmediate(next, i + 1))
      }
      next(0)
    })
    assert.deepStrictEqual(await run(bin, { op: "ADD", socket }), { code: 0, stdout: "{\"cniVersion\":\"1.0.0\"}\n" })
  })

  it("takes the first of two lines", async () => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, reply(encodeResult({ n: 1 }) + encodeResult({ n: 2 })))
    assert.deepStrictEqual(await run(bin, { op: "ADD", socket }), { code: 0, stdout: "{\"n\":1}\n" })
  })

  it("hears an agent that refuses before it has read the request", async () => {
    const { socket } = makePlace()
    const refusal = { cniVersion: "1.1.0", code: 6, msg: "too long" }
    const server = createServer((peer) => {
      peer.on("error", () => peer.destroy())
      peer.pause()
      peer.write(encodeError(refusal), () => peer.destroy())
    })
    await new Promise<void>((listening) => server.listen(socket, listening))
    const outcome = await run(bin, { op: "ADD", socket, stdin: "x".repeat(900_000) })
    await new Promise((closed) => server.close(closed))
    assert.deepStrictEqual(errorOf(outcome), refusal)
  })
})

describe("without an agent", () => {
  it("STATUS waits for one that is being replaced; what must not wait does not", async () => {
    const { socket } = makePlace()
    await writeFile(socket, "an agent that was killed leaves its socket behind")
    const began = performance.now()
    assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket })).code, 11)
    assert.isBelow(performance.now() - began, STATUS_WAIT / 2, "kubelet tries ADD again by itself")
    const asked = run(bin, { op: "STATUS", socket })
    await setTimeout(STATUS_WAIT / 3)
    await rm(socket)
    await using agent = await fakeAgent(socket, reply(encodeResult(null)))
    assert.deepStrictEqual(await asked, { code: 0, stdout: "" })
    assert.strictEqual(agent.lines.length, 1, "asked once")
  })

  it("STATUS waits no longer than kubelet waits for a runtime: 30 s, of which 5 are its own interval", async () => {
    const [, milliseconds] = /^STATUS_WAIT_MS \?= (\d+)$/m.exec(await readFile(join(SOURCES, "Makefile"), "utf8")) ?? []
    assert.isAtMost(Number(milliseconds), 15_000)
  })

  it.each([["ADD", 11], ["CHECK", 11], ["GC", 11], ["STATUS", 50]] as const)(
    "%s fails with code %i",
    async (op, code) => {
      const { socket } = makePlace()
      const error = errorOf(await run(bin, { op, socket }))
      assert.strictEqual(error.code, code)
      assert.strictEqual(error.cniVersion, "1.0.0")
      assert.include(error.msg, socket)
    }
  )

  it.each([
    ["{\"cniVersion\":\"0.4.0\"}", "0.4.0"],
    ["", "1.1.0"],
    ["no JSON", "1.1.0"],
    ["{\"prevResult\":{\"cniVersion\":\"0.3.0\"},\"x\":[{\"cniVersion\":\"0.3.0\"}]}", "1.1.0"],
    ["{\"prevResult\":{\"cniVersion\":\"0.3.0\"},\"cniVersion\" :\n\"1.0.0\"}", "1.0.0"],
    ["{\"a\":\"\\\"cniVersion\\\":\\\"9\\\"\",\"b\":\"cniVersion\",\"c\":\"8\",\"cniVersion\":\"0.3.1\"}", "0.3.1"],
    ["{\"cniVersion\":\"1\\\"},{\\\"\"}", "1.1.0"],
    ["{\"cniVersion\":\"1.0.0\\u0022\"}", "1.1.0"],
    ["{\"cniVersion\":\"1.0.00000000000000000000\"}", "1.1.0"],
    ["{\"cniVersion\":{\"a\":\"1.0.0\"}}", "1.1.0"],
    ["{\"cniVersion\":1}", "1.1.0"],
    ["{\"cniVersion\":\"0.4.0\"", "0.4.0"],
    ["{\"cniVersion\":\"0.4.0", "1.1.0"]
  ])("VERSION is answered, with the version asked for: %s", async (stdin, cniVersion) => {
    const { socket } = makePlace()
    const { code, stdout } = await run(bin, { op: "VERSION", socket, stdin })
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(JSON.parse(stdout), { cniVersion, supportedVersions: SUPPORTED })
  })

  it("a socket that nobody listens on is no agent either", async () => {
    const { socket } = makePlace()
    await writeFile(socket, "")
    assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket })).code, 11)
  })
})

describe("environment", () => {
  it.each(["add", "ADD ", "UPDATE", "\"}\n{", "\u0001"])("CNI_COMMAND %j is refused with code 4", async (op) => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(encodeResult(null)))
    const error = errorOf(await run(bin, { op, socket }))
    assert.strictEqual(error.code, 4)
    assert.include(error.msg, `CNI_COMMAND`)
    assert.include(error.msg, op)
    assert.isEmpty(agent.lines)
  })

  it("CNI_COMMAND missing or empty is refused at once, with stdin open", async () => {
    const { socket } = makePlace()
    assert.strictEqual(errorOf(await run(bin, { op: "", socket, stdin: "open" })).code, 4)
    assert.strictEqual(errorOf(await run(bin, { socket, stdin: "open" })).code, 4)
  })

  it("FLOCK_SOCKET too long for a socket is refused with code 4", async () => {
    const error = errorOf(await run(bin, { op: "ADD", socket: `/${"x".repeat(107)}` }))
    assert.strictEqual(error.code, 4)
    assert.include(error.msg, "FLOCK_SOCKET")
  })

  it("FLOCK_SOCKET empty means the usual place", async () => {
    const error = errorOf(await run(bin, { op: "ADD", socket: "", via: ["unshare", "--mount", "sh", "-c", HIDE_RUN] }))
    assert.include(error.msg, "/run/flock/agent.sock")
  })
})

/** An empty /run, in a mount namespace of its own. */
const HIDE_RUN = "mount -t tmpfs none /run && exec \"$0\""

describe("alive, the agent's liveness probe", () => {
  const alive = (socket: string, plugin = bin) => run(plugin, { socket, args: ["alive"], stdin: "open" })

  it("is 0 when an agent answers, and reads no stdin", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(encodeResult({ cniVersion: "1.1.0" })))
    assert.strictEqual((await alive(socket)).code, 0)
    assert.deepInclude(agent.requests()[0], { op: "VERSION", config: "" })
  })

  it("is 1 without an agent, though VERSION is answered then", async () => {
    const { socket } = makePlace()
    assert.include(errorOf(await alive(socket)).msg, "cannot be reached")
    assert.strictEqual((await run(bin, { op: "VERSION", socket })).code, 0)
  })

  it("is 1 when the agent says nothing", async () => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, () => undefined)
    assert.include(errorOf(await alive(socket, hasty)).msg, "deadline")
  })
})
