/** Builds the plugin for the file that imports this, runs it as a runtime would, and stands in for the agent. */
import { afterAll, assert, beforeAll } from "@effect/vitest"
import { spawn } from "node:child_process"
import { createServer, type Socket } from "node:net"
import { join, resolve } from "node:path"
import { run as command } from "../../lab/exec.ts"
import { World } from "../../lab/World.ts"
import type { Request } from "../../src/domain/Wire.ts"

export const SOURCES = resolve(import.meta.dirname, "../../cni")

/** Milliseconds that {@link hasty} has for a call. */
export const HASTY = 700

/** Milliseconds for which {@link bin} waits for an agent at STATUS. */
export const STATUS_WAIT = 1000

export const world = new World()

/** Builds the plugin into a folder; its path. */
export const build = async (out: string, ...variables: ReadonlyArray<string>): Promise<string> => {
  await command("make", "--silent", "-C", SOURCES, `OUT=${out}`, ...variables)
  return join(out, "flock")
}

/** The plugin. */
export let bin = ""
/** The plugin in a hurry. */
export let hasty = ""

beforeAll(async () => {
  bin = await build(join(world.directory, "bin"), `STATUS_WAIT_MS=${STATUS_WAIT}`)
  hasty = await build(join(world.directory, "hasty"), `DEADLINE_MS=${HASTY}`)
})
afterAll(() => world.close())

/** A folder of its own for one test: the agent's socket would be `socket`, the queue is beside it. */
export const makePlace = () => {
  const dir = world.folder("run")
  return { dir, socket: join(dir, "agent.sock"), queue: join(dir, "del-queue") }
}

export interface Outcome {
  /** Null where a signal ended the process. */
  readonly code: number | null
  readonly stdout: string
}

export interface Call {
  readonly op?: string
  readonly socket: string
  readonly env?: Record<string, string>
  /** `open`: nothing comes and it is never closed. What the plugin does not read to its end is an error. */
  readonly stdin?: string | Uint8Array | "open"
  readonly uid?: number
  /** Runs the plugin through another program, which ends by executing its last argument. */
  readonly via?: ReadonlyArray<string>
  /** Leaves stdout unread until the plugin has ended. */
  readonly unread?: boolean
  /** Arguments of the plugin. */
  readonly args?: ReadonlyArray<string>
  readonly onSpawn?: (pid: number) => void
}

export const CONFIG = JSON.stringify({ cniVersion: "1.0.0", name: "flock", type: "flock" })

export const run = (bin: string, call: Call): Promise<Outcome> =>
  new Promise((done, failed) => {
    const [file = bin, ...args] = [...(call.via ?? []), bin, ...(call.args ?? [])]
    const child = spawn(file, args, {
      cwd: "/",
      env: {
        PATH: process.env["PATH"] ?? "",
        ...(call.op === undefined ? {} : { CNI_COMMAND: call.op }),
        CNI_CONTAINERID: "c1",
        CNI_NETNS: "/run/netns/x",
        CNI_IFNAME: "eth0",
        CNI_ARGS: "K8S_POD_NAME=a",
        CNI_PATH: "/opt/cni/bin",
        FLOCK_SOCKET: call.socket,
        ...call.env
      },
      ...(call.uid === undefined ? {} : { uid: call.uid, gid: call.uid })
    })
    const chunks: Array<Buffer> = []
    const collect = () => child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk))
    if (call.unread) child.on("exit", collect)
    else collect()
    child.on("error", failed)
    child.on("close", (code) => done({ code, stdout: Buffer.concat(chunks).toString("utf8") }))
    child.stdin.on("error", failed)
    if (call.stdin !== "open") child.stdin.end(call.stdin ?? CONFIG)
    else child.on("exit", () => child.stdin.destroy())
    if (child.pid !== undefined) call.onSpawn?.(child.pid)
  })

/** Checks that the outcome is a failure as CNI wants it, one error object on stdout, and returns that. */
export const errorOf = ({ code, stdout }: Outcome) => {
  assert.strictEqual(code, 1, stdout)
  assert.strictEqual(stdout.indexOf("\n"), stdout.length - 1, "one line")
  const error: unknown = JSON.parse(stdout)
  assert.isObject(error)
  const { cniVersion, code: cniCode, msg } = error as Record<string, unknown>
  assert.isString(cniVersion)
  assert.isNumber(cniCode)
  assert.isString(msg)
  assert.notStrictEqual(msg, "")
  return { cniVersion: String(cniVersion), code: Number(cniCode), msg: String(msg) }
}

/** What is no UTF-8 is no request either. */
const strict = (bytes: Uint8Array): string => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return "not UTF-8"
  }
}

export type Answer = (socket: Socket, line: string) => void

/** Listens like the agent; `lines` are the raw requests it got. */
export const fakeAgent = async (path: string, answer: Answer) => {
  const lines: Array<string> = []
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Array<Buffer> = []
    sockets.add(socket)
    socket.on("close", () => sockets.delete(socket))
    socket.on("error", () => socket.destroy())
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      if (!chunk.includes(10)) return
      const line = strict(Buffer.concat(chunks))
      lines.push(line)
      answer(socket, line)
    })
  })
  await new Promise<void>((listening, failed) => server.on("error", failed).listen(path, listening))
  return {
    lines,
    requests: () => lines.map((line): Request => JSON.parse(line)),
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise((done) => server.close(done))
      for (const socket of sockets) socket.destroy()
      await closed
    }
  }
}

export const reply = (text: string | Uint8Array): Answer => (socket) => {
  socket.end(text)
}
