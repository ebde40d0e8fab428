import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { readdir } from "node:fs/promises"
import { encodeResult, MAX_LINE } from "../../src/domain/Wire.ts"
import { bin, errorOf, fakeAgent, hasty, makePlace, reply, run } from "./harness.ts"

const OK = encodeResult({ cniVersion: "1.0.0" })
const CLOSED_STDIN = ["sh", "-c", "exec \"$0\" <&-"]

describe("stdin", () => {
  it.each(["ADD", "DEL", "CHECK", "GC"])("%s without any is an error", async (op) => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(OK))
    assert.strictEqual(errorOf(await run(bin, { op, socket, stdin: "" })).code, 6)
    assert.strictEqual(errorOf(await run(bin, { op, socket, stdin: "open", via: CLOSED_STDIN })).code, 6)
    assert.isEmpty(agent.lines)
  })

  it("STATUS and VERSION need none", async () => {
    const { socket } = makePlace()
    assert.strictEqual((await run(bin, { op: "VERSION", socket, stdin: "open", via: CLOSED_STDIN })).code, 0)
    assert.strictEqual(errorOf(await run(bin, { op: "STATUS", socket, stdin: "open", via: CLOSED_STDIN })).code, 50)
  })

  it("a folder cannot be read", async () => {
    const { socket } = makePlace()
    const error = errorOf(await run(bin, { op: "ADD", socket, stdin: "open", via: ["sh", "-c", "exec \"$0\" </"] }))
    assert.strictEqual(error.code, 5)
  })

  it.each(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"])(
    "%s: 10 MB are refused, and read to the end",
    async (op) => {
      const { socket } = makePlace()
      await using agent = await fakeAgent(socket, reply(OK))
      const stdin = `{"cniVersion":"0.4.0","pad":"${"x".repeat(10_000_000)}"}`
      const error = errorOf(await run(bin, { op, socket, stdin }))
      assert.strictEqual(error.code, 7)
      assert.strictEqual(error.cniVersion, "0.4.0")
      assert.isEmpty(agent.lines)
    }
  )

  it("what fits only unescaped is refused; the largest that fits is passed on", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(OK))
    assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket, stdin: "\"".repeat(600_000) })).code, 7)
    assert.isEmpty(agent.lines)
    await run(bin, { op: "ADD", socket, stdin: "x" })
    const room = MAX_LINE - Buffer.byteLength(agent.lines[0] ?? "")
    assert.strictEqual((await run(bin, { op: "ADD", socket, stdin: "x".repeat(room + 1) })).code, 0)
    assert.strictEqual(Buffer.byteLength(agent.lines[1] ?? ""), MAX_LINE)
    assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket, stdin: "x".repeat(room + 2) })).code, 7)
  })
})

describe("environment", () => {
  it("quotes, newlines, control bytes and long values arrive as they are", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(OK))
    const all = Array.from({ length: 0xff }, (_, i) => String.fromCharCode(i + 1)).join("")
    const env = {
      CNI_CONTAINERID: "\"},{\"error\":1",
      CNI_NETNS: "line\nline\r\t\\",
      CNI_IFNAME: all,
      CNI_ARGS: "a".repeat(120_000),
      CNI_PATH: "\u007f\u2028😀"
    }
    assert.strictEqual((await run(bin, { op: "ADD", socket, env })).code, 0)
    const [request] = agent.requests()
    assert.deepStrictEqual(
      [request?.containerId, request?.netns, request?.ifName, request?.args, request?.path],
      Object.values(env)
    )
  })

  it("unset variables arrive empty", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(OK))
    const via = [
      "env",
      "-u",
      "CNI_CONTAINERID",
      "-u",
      "CNI_NETNS",
      "-u",
      "CNI_IFNAME",
      "-u",
      "CNI_ARGS",
      "-u",
      "CNI_PATH"
    ]
    assert.strictEqual((await run(bin, { op: "ADD", socket, via })).code, 0)
    const [request] = agent.requests()
    assert.deepInclude(request, { containerId: "", netns: "", ifName: "", args: "", path: "" })
  })

  it("values too long for a line are refused", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(OK))
    const long = "\u0001".repeat(100_000)
    const error = errorOf(await run(bin, { op: "ADD", socket, env: { CNI_ARGS: long, CNI_PATH: long } }))
    assert.strictEqual(error.code, 7)
    assert.isEmpty(agent.lines)
  })
})

describe("an agent that answers", () => {
  it.each([
    ["nothing", ""],
    ["half a line", "{\"result\":{\"cniVersion\":\"1.0.0\"}"],
    ["half of an error", "{\"error\":{\"cniVersion\":\"1.0"],
    ["an empty line", "\n"],
    ["garbage", "garbage\n"],
    ["garbage after the result's key", "{\"result\":garbage}\n"],
    ["a result that does not end", "{\"result\":{\"a\":{}}\n"],
    ["a result that ends twice", "{\"result\":{}}}\n"],
    ["two results", "{\"result\":{},\"result\":{}}\n"],
    ["a result that is a list", "{\"result\":[]}\n"],
    ["a result that is text", "{\"result\":\"{}\"}\n"],
    ["no result", "{\"result\":}\n"],
    ["only the key", "{\"result\":\n"],
    ["an error of null", "{\"error\":null}\n"],
    ["another object", "{\"cniVersion\":\"1.0.0\"}\n"],
    ["the keys with a space", "{ \"result\":{}}\n"],
    ["zero bytes", "\0\0\0\n"],
    ["an unclosed string", "{\"result\":{\"a}}\n"],
    ["a string that ends in an escape", "{\"result\":{\"a\\}\n"],
    ["more than a line may hold", `{"result":{"a":"${"x".repeat(MAX_LINE)}"}}\n`],
    ["without end", "x".repeat(3 * MAX_LINE)]
  ])("%s: one error to try again", async (_name, text) => {
    const { queue, socket } = makePlace()
    await using _ = await fakeAgent(socket, reply(text))
    for (const op of ["ADD", "DEL"]) assert.strictEqual(errorOf(await run(bin, { op, socket })).code, 11, op)
    assert.strictEqual(errorOf(await run(bin, { op: "STATUS", socket })).code, 50)
    assert.isTrue(await readdir(queue).then(() => false, () => true), "an agent that is there: nothing is queued")
  })

  it("by closing at once", async () => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, (peer) => peer.destroy())
    assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket })).code, 11)
  })
})

describe("the deadline", () => {
  const OVER = /deadline/

  it("ends the wait for an answer, whole or half", async () => {
    for (const said of ["", "{\"result\":{"]) {
      const { socket } = makePlace()
      await using _ = await fakeAgent(socket, (peer) => peer.write(said))
      const error = errorOf(await run(hasty, { op: "ADD", socket }))
      assert.strictEqual(error.code, 11)
      assert.match(error.msg, OVER)
      assert.strictEqual(error.cniVersion, "1.0.0")
    }
  })

  it("ends the wait for stdin", async () => {
    const { socket } = makePlace()
    assert.match(errorOf(await run(hasty, { op: "ADD", socket, stdin: "open" })).msg, OVER)
  })

  it("holds where the parent has blocked and ignored its signal", async () => {
    const { socket } = makePlace()
    const via = ["env", "--ignore-signal=ALRM", "--block-signal=ALRM"]
    assert.match(errorOf(await run(hasty, { op: "ADD", socket, stdin: "open", via })).msg, OVER)
  })

  it("ends the wait for a reader of stdout, without a second object", async () => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, reply(encodeResult({ pad: "x".repeat(900_000) })))
    const { code, stdout } = await run(hasty, { op: "ADD", socket, unread: true })
    assert.strictEqual(code, 1)
    assert.match(stdout, /^\{"pad":"x+$/)
  })

  it("ends the wait for an agent that hangs with a full backlog, and no DEL is taken for done", async () => {
    const { queue, socket } = makePlace()
    const hung = spawn(process.execPath, [
      "-e",
      "require('net').createServer().listen({ path: process.argv[1], backlog: 1 }, () => console.log('up'))",
      socket
    ])
    try {
      await new Promise((up) => hung.stdout.once("data", up))
      hung.kill("SIGSTOP")
      const calls = Array.from({ length: 5 }, () => run(hasty, { op: "DEL", socket }))
      for (const outcome of await Promise.all(calls)) assert.match(errorOf(outcome).msg, OVER)
      assert.isTrue(await readdir(queue).then(() => false, () => true))
    } finally {
      hung.kill("SIGKILL")
    }
  })
})

describe("streams", () => {
  it("a closed stdout or stdin does not become the agent's socket", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(OK))
    const { stdout } = await run(bin, { op: "ADD", socket, via: ["sh", "-c", "exec \"$0\" >&- 2>&-"] })
    assert.strictEqual(stdout, "")
    assert.strictEqual(agent.lines.length, 1)
    assert.match(agent.lines[0] ?? "", /^[^\n]*\n$/)
  })

  it("a reader that went away is a failure, not a signal", async () => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, reply(encodeResult({ pad: "x".repeat(900_000) })))
    const via = ["bash", "-c", "\"$0\" | head -c 1 >/dev/null; echo \"${PIPESTATUS[0]}\""]
    assert.strictEqual((await run(bin, { op: "ADD", socket, via })).stdout, "1\n")
  })
})
