/** The service account of a pod: found where kubelet mounts it, and read again when kubelet rotates the token. */
import { assert, describe, it } from "@effect/vitest"
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "./lab.ts"

describe.runIf(available)("in a cluster, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
    await lab.create(api, lab.nodeConfig())
  })
  afterAll(() => world.close())

  it("uses the mounted token, and at a refusal (401) the one that is there now", async () => {
    const account = join(api.dir, "serviceaccount")
    const put = (token: string) => writeFileSync(join(account, "token"), token)
    mkdirSync(account)
    copyFileSync(join(api.dir, "ca.crt"), join(account, "ca.crt"))
    put(await lab.tokenOf(api, lab.AGENT_POD))
    const { hostname, port } = new URL(api.url)
    // /run of its own, so that /var/run/secrets is there and this machine's is left alone
    const mounts = [
      "mount -t tmpfs none /run",
      "mkdir -p /run/secrets/kubernetes.io/serviceaccount",
      `mount --bind ${account} /run/secrets/kubernetes.io/serviceaccount`
    ]
    const script = ["sh", "-c", `${mounts.join(" && ")} && exec "$@"`, "sh", process.execPath]
    const program = [join(import.meta.dirname, "inCluster.ts"), lab.NODE, api.dir]
    const lines: Array<string> = []
    const child = world.spawn(["unshare", "-m", ...script, ...program], {
      env: { ...process.env, KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port }
    })
    child.stdout?.on("data", (text: Buffer) => lines.push(...text.toString("utf8").trim().split("\n")))
    await until("synced", () => lines.includes(`synced ${lab.NODE}`))
    await until("patched", () => lines.includes("patched"))

    // a token ends with the pod that it is bound to
    await lab.create(api, lab.agentPod("flock-agent-next"))
    const rotated = await lab.tokenOf(api, "flock-agent-next")
    await api.call("DELETE", `/api/v1/namespaces/${lab.NAMESPACE}/pods/${lab.AGENT_POD}?gracePeriodSeconds=0`)
    api.signal("SIGKILL")
    api.restart()
    await until("refused", () => lines.some((line) => line.includes("answered 401")))
    put(rotated)
    lines.length = 0
    await until("patched again", () => lines.includes("patched"))
    assert.notInclude(lines.join("\n"), rotated)
  })
})
