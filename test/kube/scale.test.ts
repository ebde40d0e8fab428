/**
 * Thirty agents' client code against one API server: what each asks, counted, so that what grows with the square of the nodes,
 * or comes at once from all, is seen here and not in a cluster of 5,000. `npm run scale` has the times.
 */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start as startServer } from "../../lab/ApiServer.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { PROBATION_ANNOTATION } from "../../src/domain/NodeConfig.ts"
import { type Agents, makeNodes, nameOf, start, untilAll } from "../scale/agents.ts"
import { type Counts, counts, since, total } from "../scale/requests.ts"
import { samples, sum } from "../scale/server.ts"
import * as lab from "./lab.ts"

const N = 30
const AGENT = "system:serviceaccount:flock-system:flock-agent"
const PROBATION_MILLIS = 2000
const OUTAGE_SECONDS = 3
const RESOURCES = ["pods", "nodes", "nodeconfigs", "nodeconfigtemplates"] as const
const WATCHES = RESOURCES.length

/** Counts of a template's nodes (src/fleet/Counter.ts) for an edit, for each node of so few. */
const MOST_COUNTS = 1.5

interface NodeConfigObject {
  readonly metadata: { readonly generation: number; readonly annotations: Readonly<Record<string, string>> }
  readonly status?: {
    readonly observedGeneration: number
    readonly conditions: ReadonlyArray<{ readonly reason: string }>
  }
}

interface Asked {
  readonly verb: string
  readonly requestURI: string
  readonly stage: string
  readonly user: { readonly username: string; readonly extra?: Readonly<Record<string, ReadonlyArray<string>>> }
}

const template = (mtu: number) => ({
  cidrs: "podCIDRs",
  mtu,
  bgp: { asn: { fromLabel: "example.org/asn" }, peers: [{ address: "192.0.2.1", asn: 65000 }] }
})

describe.runIf(available)(`${N} agents and one API server`, () => {
  const world = new World()
  let api: ApiServer
  let agents: Agents

  /** What agents asked, as the server logged it. */
  const asked = (): ReadonlyArray<Asked> =>
    readFileSync(join(api.dir, "audit.log"), "utf8").split("\n").filter((line) => line.includes(`"${AGENT}"`))
      .map((line) => JSON.parse(line) as Asked).filter(({ stage, verb }) =>
        stage === (verb === "watch" ? "ResponseStarted" : "ResponseComplete")
      )

  /** The server watches some of them itself. */
  const allWatch = () =>
    until(`${N} watches of each resource`, async () => {
      const open = await samples(api, "apiserver_longrunning_requests")
      return RESOURCES.every((resource) =>
        sum(open, "apiserver_longrunning_requests", { resource, verb: "WATCH" }) >= N
      )
    }, 60)

  /** Every trial is over, and every status says so: nothing is to be written any more. */
  const settled = () =>
    until("all trials over", async () => {
      const { body } = await api.call("GET", lab.NODECONFIGS)
      return body.items.length === N && body.items.every(({ metadata, status }: NodeConfigObject) =>
        metadata.annotations[PROBATION_ANNOTATION] === undefined &&
        status?.observedGeneration === metadata.generation &&
        status.conditions.some(({ reason }) => reason === "Following")
      )
    }, 60)

  const eachAsked = (before: Counts, of: RegExp) => total(since(before), of) / N

  beforeAll(async () => {
    api = await startServer(world, "--audit-policy-file=DIR/audit.yaml --audit-log-path=DIR/audit.log")
    await lab.prepare(api, "unused")
    const tokens = new Map<string, string>()
    await makeNodes(api, N, tokens)
    for (let i = 0; i < N; i++) await lab.create(api, lab.pod(`p${i}`, {}, nameOf(i)))
    const names = Array.from({ length: N }, (_, i) => nameOf(i))
    agents = await start(api, names, { tokens, folder: world.folder("states"), probationMillis: PROBATION_MILLIS })
  }, 120_000)
  afterAll(async () => {
    await agents?.stop()
    await world.close()
  })

  const edit = async (mtu: number) => {
    const knows = untilAll(agents, (spec) => spec.mtu === mtu)
    const spec = { nodeSelector: {}, rollout: { seconds: 1 }, template: template(mtu) }
    const path = `${lab.TEMPLATES}/all`
    const { status } = await api.call("PATCH", path, { spec }, "application/merge-patch+json")
    if (status === 404) {
      const kind = "NodeConfigTemplate"
      await lab.create(api, { apiVersion: "flock.fritzlab.net/v1alpha1", kind, metadata: { name: "all" }, spec })
    }
    await knows
    await settled()
  }

  const assertFewWrites = (before: Counts) => {
    // Taken, and its trial ended; both with status, and whatever came with it.
    assert.strictEqual(eachAsked(before, /^patch nodeconfigs 20[01]$/), 2)
    const statuses = eachAsked(before, /^patch nodeconfigs\/status /)
    assert.isAtMost(statuses, 4)
    // A trial of two seconds ends while status is written: what comes between is looked at, and then it is written again.
    assert.isAtMost(eachAsked(before, /^patch nodeconfigs 409$/), statuses)
    // Who counts does so for others; with thirty nodes two may at once, more so on a machine that answers late.
    assert.isBelow(eachAsked(before, /^patch nodeconfigtemplates/), MOST_COUNTS)
  }

  it("a template and an edit of it are a few writes a node, and none of the template by each of them", async () => {
    const first = counts()
    await edit(1400)
    assertFewWrites(first)
    // A node with a NodeConfig can serve, and says so.
    assert.isAtMost(eachAsked(first, /^patch nodes/), 2)
    const second = counts()
    await edit(1450)
    assertFewWrites(second)
    assert.isBelow(eachAsked(second, /^patch nodes/), 0.5)
    assert.isBelow(eachAsked(second, /^list /), MOST_COUNTS, "nobody lists anew for an edit, but who counts")
  })

  it("no agent asks for what is other nodes'", async () => {
    await allWatch()
    const all = asked()
    assert.strictEqual(
      new Set(all.map(({ user }) => user.extra?.["authentication.kubernetes.io/node-name"]?.[0])).size,
      N
    )
    const counting: Array<string> = []
    for (const { requestURI, user, verb } of all) {
      if (verb !== "list" && verb !== "watch") continue
      const node = user.extra?.["authentication.kubernetes.io/node-name"]?.[0]
      const { pathname, searchParams } = new URL(requestURI, "https://server")
      const selector = searchParams.get("fieldSelector")
      switch (pathname.split("/").at(-1)) {
        case "pods":
          assert.include(selector, `spec.nodeName=${node},`)
          break
        case "nodes":
        case "nodeconfigs":
          if (verb === "list" && searchParams.get("labelSelector") !== null) {
            counting.push(requestURI)
            assert.isNotNull(searchParams.get("resourceVersion"), `${requestURI}: from etcd`)
            break
          }
          assert.strictEqual(selector, `metadata.name=${node}`, requestURI)
          break
        case "networkpolicies":
          assert.strictEqual(searchParams.get("limit"), "1")
          break
        default:
          assert.strictEqual(pathname, lab.TEMPLATES)
      }
    }
    assert.isBelow(counting.length / N, 2 * MOST_COUNTS, "for two edits")
  })

  it("after an outage each asks once whether it is over, and for what it had, of the server's cache", async () => {
    const before = counts()
    const began = performance.now()
    api.signal("SIGKILL")
    await sleep(OUTAGE_SECONDS * 1000)
    const logged = asked().length
    await api.startAgain()
    await allWatch()
    const seconds = (performance.now() - began) / 1000
    // 0.1 s to 3.2 s, then every 2.5 to 5 s; an agent's watches wait for it, 15 to 30 s at the longest.
    assert.isAtMost(eachAsked(before, /^get readyz /), 7 + seconds / 2.5)
    assert.isAtMost(eachAsked(before, /^(list|watch) .* 0$/), WATCHES * (1 + Math.ceil(seconds / 15)))
    // Each watch is told that its version is forgotten, lists, and is opened; one that was silent for two minutes once more.
    assert.isAtMost(eachAsked(before, /^watch .* 200$/), WATCHES * 3)
    assert.isBelow(eachAsked(before, /^list .* 200$/), WATCHES + MOST_COUNTS)
    // A resource's cache that is not filled yet refuses for a second (429); roles that are not read yet (403) were waited for.
    assert.isAtMost(eachAsked(before, /^(list|watch) .* 429$/), WATCHES)
    assert.isAtMost(eachAsked(before, /^(list|watch) .* (401|403)$/), 0.5)
    for (const { requestURI, verb } of asked().slice(logged)) {
      if (verb !== "list") continue
      const { searchParams } = new URL(requestURI, "https://server")
      assert.isNull(searchParams.get("limit"), `${requestURI}: from etcd, of some servers`)
      assert.isNotNull(searchParams.get("resourceVersion"), requestURI)
    }
  })
})
