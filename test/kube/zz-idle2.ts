import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { start } from "./ApiServer.ts"
import * as lab from "./lab.ts"
const api = await start("--audit-policy-file=DIR/audit.yaml --audit-log-path=DIR/audit.log")
await lab.prepare(api)
await lab.create(api, lab.nodeConfig())
const t0 = Date.now()
await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const kube = yield* lab.agent(api.kubeconfig("agent"))
  yield* Effect.forkScoped(
    Effect.forever(
      Effect.andThen(
        Effect.ignore(kube.setNodeCondition({ status: "False", reason: "FlockReady", message: "" })),
        Effect.sleep(60_000)
      )
    )
  )
  yield* Effect.sleep(10 * 60_000 + 20_000)
})))
const lines = readFileSync(`${api.dir}/audit.log`, "utf8").split("\n").filter((l) =>
  l.includes("flock-system:flock-agent") && l.includes("RequestReceived")
).map((l) => JSON.parse(l) as { verb: string; requestURI: string; requestReceivedTimestamp: string })
for (const l of lines) {
  console.log(((Date.parse(l.requestReceivedTimestamp) - t0) / 1000).toFixed(1), l.verb, l.requestURI)
}
await api.stop()
process.exit(0)
