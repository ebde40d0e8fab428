import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type FileSystem } from "effect"
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises"
import { setTimeout } from "node:timers/promises"
import { encodeResult, type Request } from "../../src/domain/Wire.ts"
import { drain, withQueueLock } from "../../src/socket/DelQueue.ts"
import { bin, CONFIG, errorOf, fakeAgent, hasty, makePlace, reply, run, world } from "./harness.ts"

const MAX_INTENTS = 4096
const DONE = { code: 0, stdout: "" }

const effect = <A, E>(self: Effect.Effect<A, E, FileSystem.FileSystem>) =>
  Effect.runPromise(self.pipe(Effect.provide(NodeServices.layer)))

const intents = async (queue: string) => (await readdir(queue)).filter((name) => name !== "lock").toSorted()

const del = (socket: string, id: string, more: { readonly env?: Record<string, string> } = {}) => ({
  op: "DEL",
  socket,
  env: { CNI_CONTAINERID: id, ...more.env }
})

/** Until the kernel says that the process waits for a file lock. */
const waitsForLock = async (pid: number): Promise<void> => {
  const waiting = new RegExp(`-> FLOCK +ADVISORY +WRITE ${pid} `)
  while (!waiting.test(await readFile("/proc/locks", "utf8"))) await setTimeout(2)
}

describe("a DEL without an agent", () => {
  it("succeeds, and leaves its request line for the agent", async () => {
    const { queue, socket } = makePlace()
    assert.deepStrictEqual(await run(bin, del(socket, "c1")), DONE)
    assert.deepStrictEqual(await intents(queue), ["c1@eth0.json"])
    const seen: Array<Request> = []
    const drained = await effect(drain(queue, (request) => Effect.sync(() => seen.push(request))))
    assert.deepStrictEqual(drained, { done: 1, kept: 0, unreadable: 0 })
    assert.deepStrictEqual(seen, [{
      op: "DEL",
      containerId: "c1",
      netns: "/run/netns/x",
      ifName: "eth0",
      args: "K8S_POD_NAME=a",
      path: "/opt/cni/bin",
      config: CONFIG
    }])
    assert.isEmpty(await intents(queue))
  })

  it("makes what is missing of /run/flock/del-queue", async () => {
    const { dir: place } = makePlace()
    assert.deepStrictEqual(await run(bin, del(`${place}/flock/agent.sock`, "c1")), DONE)
    assert.deepStrictEqual(await intents(`${place}/flock/del-queue`), ["c1@eth0.json"])
  })

  it("is one file however often it comes, and one for each interface", async () => {
    const { queue, socket } = makePlace()
    await run(bin, del(socket, "c1"))
    await run(bin, del(socket, "c1", { env: { CNI_NETNS: "" } }))
    await run(bin, del(socket, "c1", { env: { CNI_IFNAME: "net1" } }))
    assert.deepStrictEqual(await intents(queue), ["c1@eth0.json", "c1@net1.json"])
    assert.strictEqual(JSON.parse(await readFile(`${queue}/c1@eth0.json`, "utf8")).netns, "")
  })

  it("stands beside many others", async () => {
    const { queue, socket } = makePlace()
    const ids = Array.from({ length: 120 }, (_, i) => `c${i}`)
    const outcomes = await Promise.all([...ids, ...ids].map((id) => run(bin, del(socket, id))))
    for (const outcome of outcomes) assert.deepStrictEqual(outcome, DONE)
    assert.deepStrictEqual(await intents(queue), ids.map((id) => `${id}@eth0.json`).toSorted())
  })

  it.each([
    ["CNI_CONTAINERID", ""],
    ["CNI_CONTAINERID", ".."],
    ["CNI_CONTAINERID", "../../etc/passwd"],
    ["CNI_CONTAINERID", "a@b"],
    ["CNI_CONTAINERID", "a\nb"],
    ["CNI_CONTAINERID", "x".repeat(221)],
    ["CNI_IFNAME", ""],
    ["CNI_IFNAME", "a/b"],
    ["CNI_IFNAME", "a b"],
    ["CNI_IFNAME", "x".repeat(16)]
  ])("is refused with code 4 for %s=%j", async (name, value) => {
    const { queue, socket } = makePlace()
    const error = errorOf(await run(bin, del(socket, "c1", { env: { [name]: value } })))
    assert.strictEqual(error.code, 4)
    assert.include(error.msg, name)
    assert.isTrue(await readdir(queue).then(() => false, () => true))
  })

  it("takes the longest names there are", async () => {
    const { queue, socket } = makePlace()
    const [id, ifName] = ["x".repeat(220), "\"\\{}@%.json2345"]
    assert.deepStrictEqual(await run(bin, del(socket, id, { env: { CNI_IFNAME: ifName } })), DONE)
    assert.deepStrictEqual(await intents(queue), [`${id}@${ifName}.json`])
  })
})

describe("a queue that cannot take it", () => {
  it("full: an error to try again, but a DEL that waits already still succeeds", async () => {
    const { queue, socket } = makePlace()
    await mkdir(queue)
    await Promise.all(Array.from({ length: MAX_INTENTS - 1 }, (_, i) => writeFile(`${queue}/x${i}@eth0.json`, "")))
    assert.deepStrictEqual(await run(bin, del(socket, "last")), DONE)
    const error = errorOf(await run(bin, del(socket, "onemore")))
    assert.strictEqual(error.code, 11)
    assert.include(error.msg, queue)
    assert.deepStrictEqual(await run(bin, del(socket, "last")), DONE)
    assert.lengthOf(await intents(queue), MAX_INTENTS)
  })

  it("too large a DEL", async () => {
    const { queue, socket } = makePlace()
    const outcome = await run(bin, { ...del(socket, "c1"), stdin: "x".repeat(65_536) })
    assert.strictEqual(errorOf(outcome).code, 11)
    assert.isTrue(await readdir(queue).then(() => false, () => true))
  })

  it("not ours to write", async () => {
    const { dir: place, socket } = makePlace()
    for (const open of [world.directory, place]) await chmod(open, 0o755)
    const error = errorOf(await run(bin, { ...del(socket, "c1"), uid: 65_534 }))
    assert.strictEqual(error.code, 11)
    assert.include(error.msg, "Permission denied")
  })

  it("no folder at all, a file, or a link in its place", async () => {
    const { dir: place, queue, socket } = makePlace()
    assert.strictEqual(errorOf(await run(bin, del(`${place}/a/b/agent.sock`, "c1"))).code, 11)
    await symlink(place, queue)
    assert.strictEqual(errorOf(await run(bin, del(socket, "c1"))).code, 11)
    const other = makePlace()
    await writeFile(other.queue, "")
    assert.strictEqual(errorOf(await run(bin, del(other.socket, "c1"))).code, 11)
  })

  it("no space left: nothing half-written stays", async () => {
    const { dir: place, socket } = makePlace()
    const via = [
      "unshare",
      "--mount",
      "sh",
      "-c",
      `mount -t tmpfs -o size=16k none ${place} && "$0"; ls ${place}/del-queue`
    ]
    const { stdout } = await run(bin, { ...del(socket, "c1"), via, stdin: "x".repeat(50_000) })
    const [json = "", ...left] = stdout.trimEnd().split("\n")
    const error = errorOf({ code: 1, stdout: `${json}\n` })
    assert.strictEqual(error.code, 11)
    assert.include(error.msg, "No space left")
    assert.deepStrictEqual(left, ["lock"])
  })

  it("locked until the deadline", async () => {
    const { queue, socket } = makePlace()
    const outcome = await effect(withQueueLock(queue, Effect.promise(() => run(hasty, del(socket, "c1")))))
    const error = errorOf(outcome)
    assert.strictEqual(error.code, 11)
    assert.include(error.msg, "deadline")
    assert.isEmpty(await intents(queue))
  })
})

describe("an agent that appears", () => {
  it("while a DEL waits for the lock: it gets the DEL, and the queue nothing", async () => {
    const { queue, socket } = makePlace()
    let outcome = Promise.resolve({ code: null as number | null, stdout: "" })
    const agent = await effect(withQueueLock(
      queue,
      Effect.promise(async () => {
        const waits = new Promise<number>((spawned) => {
          outcome = run(bin, { ...del(socket, "c1"), onSpawn: spawned })
        }).then(waitsForLock)
        await waits
        return fakeAgent(socket, reply(encodeResult(null)))
      })
    ))
    await using _ = agent
    assert.deepStrictEqual(await outcome, DONE)
    assert.lengthOf(agent.lines, 1)
    assert.isEmpty(await intents(queue))
  })

  it("and goes, again and again, between many DELs: none that succeeded is lost", async () => {
    const { queue, socket } = makePlace()
    const seen = new Set<string>()
    const succeeded = new Set<string>()
    const start = () =>
      effect(withQueueLock(
        queue,
        drain(queue, (request) => Effect.sync(() => seen.add(request.containerId))).pipe(
          Effect.andThen(Effect.promise(() =>
            fakeAgent(socket, (peer, line) => {
              seen.add(JSON.parse(line).containerId)
              peer.end(encodeResult(null))
            })
          ))
        )
      ))
    const stop = new AbortController()
    const agents = (async () => {
      while (!stop.signal.aborted) {
        const agent = await start()
        await setTimeout(Math.random() * 8)
        await agent[Symbol.asyncDispose]()
        await setTimeout(Math.random() * 8)
      }
    })()
    const worker = async (n: number) => {
      for (let i = 0; i < 40; i++) {
        const id = `c${n}-${i}`
        const outcome = await run(bin, del(socket, id))
        if (outcome.code === 0) succeeded.add(id)
        else assert.strictEqual(errorOf(outcome).code, 11)
      }
    }
    await Promise.all(Array.from({ length: 8 }, (_, n) => worker(n)))
    stop.abort()
    await agents
    const last = await start()
    await last[Symbol.asyncDispose]()
    assert.isAbove(succeeded.size, 0)
    assert.deepStrictEqual([...succeeded].filter((id) => !seen.has(id)), [])
    assert.isEmpty(await intents(queue))
  })
})
