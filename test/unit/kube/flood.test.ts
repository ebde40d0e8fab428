/** Memory stays flat under a flood of events, and every change comes out. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Cluster from "../../../src/kube/cluster.ts"
import { KubeApi } from "../../../src/kube/KubeApi.ts"

const EVENTS = 100_000

const heap = (): number => {
  setFlagsFromString("--expose-gc")
  runInNewContext("gc")()
  return process.memoryUsage().heapUsed
}

const flood = Effect.acquireRelease(
  Effect.promise(async () => {
    const program = join(import.meta.dirname, "flood.ts")
    const child = spawn(process.execPath, [program, String(EVENTS)], { stdio: ["ignore", "pipe", "inherit"] })
    const port = await new Promise<string>((done, fail) => {
      child.once("exit", () => fail(new Error("the stand-in stopped")))
      child.stdout.once("data", (text) => done(String(text).trim()))
    })
    return { child, port }
  }),
  ({ child }) => Effect.sync(() => child.kill())
)

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), `flock-flood-${process.pid}-`))),
  (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
)

describe("a flood of watch events", () => {
  it.live(`${EVENTS} of them leave nothing behind in memory`, () =>
    Effect.gen(function*() {
      const { port } = yield* flood
      const stateDir = yield* temporary
      const kubeconfig = join(stateDir, "kubeconfig")
      writeFileSync(
        kubeconfig,
        JSON.stringify({
          clusters: [{ name: "t", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
          users: [{ name: "t", user: { token: "t" } }],
          contexts: [{ name: "t", context: { cluster: "t", user: "t" } }],
          "current-context": "t"
        })
      )
      const layer = Cluster.layer({ nodeName: "host001", kubeconfig, stateDir, namespace: "flock-system" })
      const kube = Context.get(yield* Layer.build(Layer.provide(layer, NodeServices.layer)), KubeApi)
      let changes = 0
      let early = 0
      const read = kube.podChanges.pipe(
        Stream.takeUntil(({ pod }) => pod.name === "last"),
        Stream.runForEach(() =>
          Effect.sync(() => {
            if (++changes === EVENTS / 10) early = heap()
          })
        )
      )
      yield* Effect.raceFirst(read, Effect.andThen(Effect.yieldNow, kube.run))
      assert.strictEqual(changes, EVENTS / 2 + 1, "every second event changes something, and the last pod is new")
      assert.isBelow(heap() - early, 4_000_000)
      assert.strictEqual((yield* kube.pods).size, 101)
    }).pipe(Effect.scoped), 60_000)
})
