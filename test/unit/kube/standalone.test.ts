/** The folder's own: editors, slips, and a folder that comes and goes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Option, SubscriptionRef } from "effect"
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { eventually, start } from "./agent.ts"
import { folder, nodeConfig, pod } from "./sources.ts"

const A = "10.42.1.0/24"
const B = "10.42.2.0/24"

const yaml = (cidr4: string) =>
  `apiVersion: flock.fritzlab.net/v1alpha1
kind: NodeConfig
metadata: { name: n1 }
spec:
  cidr4: ${cidr4}
`

const open = Effect.gen(function*() {
  const source = yield* folder
  source.putNodeConfig(nodeConfig(A))
  source.putPod(pod("web", "u1", true))
  const running = yield* start(source.layer)
  yield* running.until(A)
  const file = join(source.directory, "nodeconfig.yaml")
  const message = Effect.map(
    SubscriptionRef.get(running.kube.nodeConfig),
    ({ rejected }) => Option.match(rejected, { onNone: () => "", onSome: (it) => it.message })
  )
  return { ...running, source, file, message }
})

describe("a folder", () => {
  it.live("is edited by tools that move the old file away first, or write in place: nothing flaps", () =>
    Effect.gen(function*() {
      const { changes, file, source, states, until } = yield* open
      const web = join(source.directory, "pods/web.yaml")
      yield* Effect.sync(() => {
        renameSync(file, `${file}~`)
        renameSync(web, `${web}~`)
      })
      yield* Effect.sleep(300)
      yield* Effect.sync(() => {
        writeFileSync(file, yaml(B))
        source.putPod(pod("web", "u1", false))
      })
      yield* until(B)
      yield* Effect.sync(() => {
        rmSync(`${file}~`)
        writeFileSync(file, "")
      })
      yield* Effect.sleep(300)
      yield* Effect.sync(() => writeFileSync(file, yaml(A).slice(0, -10)))
      yield* Effect.sleep(300)
      yield* Effect.sync(() => writeFileSync(file, yaml(A)))
      yield* until(A)
      yield* Effect.sleep(1500)
      assert.deepStrictEqual(states, [A, B, A])
      assert.deepStrictEqual(changes, ["Changed u1"])
    }).pipe(Effect.scoped))

  it.live(
    "says at which line a slip is, that a file is empty or has too much in it; the former stays in force",
    () =>
      Effect.gen(function*() {
        const { file, message, until } = yield* open
        for (
          const [text, expected] of [
            [`${yaml(B)}  mtu: 1500: 9000\n`, `${file}:6:`],
            ["", `${file}: the file is empty: write a NodeConfig, or remove it`],
            ["# later\n", `${file}: the file is empty: write a NodeConfig, or remove it`],
            [
              `${yaml(B)}---\n${yaml(B)}`,
              `${file}: the file has 2 documents: it must have one, this node's NodeConfig`
            ],
            ["hello\n", "NodeConfig n1 is not valid: apiVersion: "]
          ] as const
        ) {
          yield* Effect.sync(() => writeFileSync(file, text))
          yield* until(`${A} !`)
          const said = yield* message
          assert.isTrue(said.startsWith(expected), said)
          yield* Effect.sync(() => writeFileSync(file, yaml(A)))
          yield* until(A)
        }
      }).pipe(Effect.scoped),
    30_000
  )

  it.live("that is a file where a folder should be, or cannot be read, is said, and not in a loop", () => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
    return Effect.gen(function*() {
      const source = yield* folder
      yield* Effect.sync(() => {
        mkdirSync(join(source.directory, "nodeconfig.yaml"))
        writeFileSync(join(source.directory, "pods/broken.yaml"), "a: b: c\n")
        writeFileSync(join(source.directory, "pods/nameless.yaml"), "kind: Pod\n")
      })
      const { until } = yield* start(source.layer)
      yield* until("none !")
      yield* Effect.sleep(2500)
      const about = (text: string) => lines.filter((line) => line.includes(text))
      assert.strictEqual(about("nodeconfig.yaml").length, 1)
      assert.match(about("broken.yaml").join(), /pods\/broken\.yaml:1:\d+: .*what it said before stays in force$/)
      assert.match(about("nameless.yaml").join(), /metadata\.name is missing/)
      assert.strictEqual(about("broken.yaml").length, 1)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
  })

  it.live("that is removed and made anew is watched anew", () =>
    Effect.gen(function*() {
      const { changes, kube, source, until } = yield* open
      yield* Effect.sync(() => rmSync(source.directory, { recursive: true }))
      yield* Effect.sleep(1500)
      assert.isTrue(Option.isSome((yield* SubscriptionRef.get(kube.nodeConfig)).current), "nobody deleted a file")
      assert.strictEqual(yield* kube.unheard, `there is no folder ${source.directory}`)
      yield* Effect.sync(() => {
        mkdirSync(join(source.directory, "pods"), { recursive: true })
        source.putNodeConfig(nodeConfig(B))
        source.putPod(pod("web", "u2", true))
      })
      yield* until(B)
      assert.strictEqual(yield* kube.unheard, "")
      yield* Effect.sync(() => source.putNodeConfig(nodeConfig(A)))
      yield* until(A)
      yield* eventually(() => changes.join(), () => changes.at(-1) === "Changed u2 ready")
      yield* Effect.sync(() => source.putPod(pod("web", "u2", false)))
      yield* eventually(() => changes.join(), () => changes.at(-1) === "Changed u2")
    }).pipe(Effect.scoped))

  it.live("finds a pod whose file the watch has not brought yet; one without a file has no annotations", () =>
    Effect.gen(function*() {
      const source = yield* folder
      const { kube } = yield* start(source.layer)
      yield* Effect.sync(() => source.putPod(pod("web", "u1", false)))
      const found = yield* kube.pod({ namespace: "default", name: "web", uid: "u1" })
      assert.strictEqual(Option.getOrThrow(found).uid, "u1")
      const other = yield* kube.pod({ namespace: "default", name: "other", uid: "u9" })
      assert.deepStrictEqual(Option.getOrThrow(other).annotations, {})
    }).pipe(Effect.scoped))
})
