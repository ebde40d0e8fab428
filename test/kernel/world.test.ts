/** The lab's own promise: nothing of a world outlives it, however its process ends. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { createInterface } from "node:readline"
import { assert, describe, it } from "vitest"
import { enter, exec, inside } from "../../lab/exec.ts"
import { Relay } from "../../lab/Relay.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const namespacesOf = (tag: string) => readdirSync("/run/netns").filter((name) => name.includes(tag))

/** Makes a namespace with a process in it that ends by no signal but SIGKILL, and says what there is. */
const PROGRAM = `
import { World } from ${JSON.stringify(new URL("../../lab/World.ts", import.meta.url).href)}
const world = new World()
const netns = world.netns("node")
const stubborn = ["sh", "-c", "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"]
const child = world.spawn(stubborn, { netns })
// Neither a child nor in a namespace.
const outside = world.spawn(["sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait"])
const orphan = await new Promise((done) => outside.stdout.once("data", (pid) => done(Number(pid))))
child.stdout.once("data", () => console.log(JSON.stringify({ tag: world.tag, directory: world.directory, pids: [child.pid, orphan] })))
setInterval(() => undefined, 1000)
`

const started = async () => {
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", PROGRAM], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const [line] = await once(createInterface({ input: child.stdout }), "line")
  const made: { readonly tag: string; readonly directory: string; readonly pids: ReadonlyArray<number> } = JSON.parse(
    String(line)
  )
  assert.lengthOf(namespacesOf(made.tag), 1)
  assert.isTrue(existsSync(made.directory))
  return { child, ...made }
}

describe("a relay", () => {
  it.each(["here", "in a namespace"])(
    "called %s passes on, slows down, falls silent, cuts and mends",
    async (where) => {
      await using world = new World()
      const echo = createServer((socket) => socket.on("error", () => socket.destroy()).pipe(socket))
      world.defer(() => echo.close())
      await once(echo.listen(0, "127.0.0.1"), "listening")
      const netns = where === "here" ? undefined : world.netns("caller")
      if (netns !== undefined) await inside(netns, "ip", "link", "set", "lo", "up")
      const relay = await Relay.open(world, { host: "127.0.0.1", port: (echo.address() as AddressInfo).port }, netns)
      /** What comes back, and after how many milliseconds; empty: the connection ended, or nothing came for half a second. */
      const asked = async () => {
        const [program = "sh", ...words] = netns === undefined ? ["bash"] : [...enter(netns), "bash"]
        const talk =
          `exec 3<>/dev/tcp/127.0.0.1/${relay.port} && echo hello >&3 && read -r -t 0.5 line <&3 && echo "$line"`
        const begin = performance.now()
        return [(await exec(program, [...words, "-c", talk])).stdout.trim(), performance.now() - begin] as const
      }
      assert.strictEqual((await asked())[0], "hello")
      relay.slow(150)
      const [slowly, took] = await asked()
      assert.deepStrictEqual([slowly, took > 300], ["hello", true])
      relay.mute()
      assert.strictEqual((await asked())[0], "")
      relay.cut()
      assert.deepStrictEqual([(await asked())[0], relay.connections], ["", 0])
      relay.mend()
      assert.strictEqual((await asked())[0], "hello")
    }
  )
})

describe("a world", () => {
  it.each(["SIGKILL", "SIGINT", "SIGTERM"] as const)("is gone when its process ends by %s", async (signal) => {
    const { child, directory, pids, tag } = await started()
    child.kill(signal)
    await until("nothing is left", () => {
      return namespacesOf(tag).length === 0 && !existsSync(directory) && !pids.some((pid) => existsSync(`/proc/${pid}`))
    })
  })

  it("ends everything although one cleanup fails, says so, and can be used again", async () => {
    const world = new World()
    const ended: Array<string> = []
    const [netns, folder] = [world.netns("node"), world.folder("x")]
    const child = world.spawn(["sleep", "1000"], { netns })
    world.defer(() => ended.push("first made"))
    world.defer(() => Promise.reject(new Error("boom")))
    world.defer(() => ended.push("last made"))
    const failure = await world.close().then(() => undefined, (error: Error) => error.message)
    assert.match(failure ?? "", /boom/)
    assert.deepStrictEqual(ended, ["last made", "first made"])
    assert.isNotNull(child.signalCode)
    assert.isFalse(existsSync(folder))
    assert.deepStrictEqual(namespacesOf(world.tag), [])
    await inside(world.netns("node"), "ip", "link", "set", "lo", "up")
    await world.close()
    assert.deepStrictEqual(namespacesOf(world.tag), [])
    await world.close()
  })

  it("ends the processes that others started in its namespaces, and touches no other world", async () => {
    await using other = new World()
    const kept = other.netns("node")
    const world = new World()
    const netns = world.netns("node")
    const stray = spawn("nsenter", [`--net=/run/netns/${netns}`, "sleep", "1000"])
    await until(
      "it is in there",
      async () => (await exec("ip", ["netns", "pids", netns])).stdout.includes(`${stray.pid}`)
    )
    await world.close()
    await sleep(100)
    assert.strictEqual(stray.signalCode, "SIGKILL")
    assert.deepStrictEqual(namespacesOf(other.tag), [kept])
  })
})
