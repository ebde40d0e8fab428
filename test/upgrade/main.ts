/**
 * `npm run upgrade -- [FROM]`: flock of the commit FROM (default: the one before this) on a cluster, then this tree's, back, and
 * forth again, each with its own manifests, images and plugin; and plugin and agent of different versions side by side. Ends
 * with 1 if anything was lost, given twice or not kept.
 */
import { join } from "node:path"
import { Cluster } from "../../lab/Cluster.ts"
import { commitOf, prepare, releaseOf, thisRelease } from "../../lab/release.ts"
import { applySite, describe, establishedEverywhere, nodeConfig, startRouter } from "../../lab/site.ts"
import { World } from "../../lab/World.ts"
import { addressesOf, fetchFrom, type Ground, onNode, pod, readyPods } from "../cluster/fixture.ts"
import { rollTo, type Stage, standing } from "./stage.ts"

const from = process.argv[2] ?? "HEAD~1"
const dist = process.argv.includes("--dist")
const commit = await commitOf(from)
if (commit === undefined || from.startsWith("--")) {
  console.error(`upgrade: ${from} is not a commit of this clone\nusage: npm run upgrade -- [FROM [--dist]]`)
  process.exit(2)
}

const PLUGIN = "/opt/cni/bin/flock"

/** A pod by a plugin of another version than its agent, and its end. */
const withPlugin = async (
  { client, cluster }: Ground,
  plugin: string,
  name: string
): Promise<ReadonlyArray<string>> => {
  const own = join(cluster.place.directory, "plugin-own")
  await cluster.node(1, "cp", PLUGIN, own)
  await cluster.node(1, "install", "-m755", plugin, PLUGIN)
  try {
    await cluster.apply(pod(name, { spec: onNode(1) }))
    const [found] = await readyPods(cluster, name, 1)
    for (const address of addressesOf(found)) await fetchFrom(client, address)
    await cluster.kubectl("delete", "pod", name, "--wait=true", "--timeout=30s")
    return []
  } catch (error) {
    return [`${name}: ${String(error)}`]
  } finally {
    await cluster.node(1, "install", "-m755", own, PLUGIN)
  }
}

const some = (problems: ReadonlyArray<string>): string =>
  problems.length === 0
    ? "0"
    : problems.slice(0, 5).join("; ") + (problems.length > 5 ? `; and ${problems.length - 5} more` : "")

const row = (what: string, { fetches, kept, lost, made, pings, problems, sameConfiguration, seconds }: Stage): string =>
  `| ${what} | ${seconds.toFixed(0)} s | ${pings} | ${fetches} | ${kept} | ${made} | ${
    sameConfiguration ? "same" : "other"
  } | ${some([...lost, ...problems])} |`

const say = (what: string): void => console.error(`${new Date().toISOString().slice(11, 19)} ${what}`)

await using world = new World()
say("images")
const own = await thisRelease(world.directory)
const older = await releaseOf(commit, "from", world.folder("from"), own, { dist })
say("a cluster")
await using cluster = await Cluster.open()
try {
  const router = await startRouter(cluster, world)
  const sites = { from: await prepare(cluster, older), to: await prepare(cluster, own) }
  await applySite(cluster, sites.from)
  await cluster.apply(nodeConfig(1), nodeConfig(2))
  await cluster.kubectl("label", "node", "--all", "flock.fritzlab.net/agent=")
  await establishedEverywhere(cluster)
  const ground: Ground = { cluster, router, world, client: cluster.netns("client") }
  const addresses = await standing(ground)
  const plugin = (of: string) => join(cluster.place.directory, `plugin-${of}`)
  await cluster.node(1, "cp", PLUGIN, plugin("from"))

  const rows: Array<readonly [string, Stage]> = []
  const mixed: Array<string> = []
  const roll = async (what: string, site: string, name: string): Promise<void> => {
    const stage = await rollTo(ground, site, name, addresses)
    rows.push([what, stage])
    say(row(what, stage))
  }
  await roll("there", sites.to, "there")
  await cluster.node(1, "cp", PLUGIN, plugin("to"))
  mixed.push(...await withPlugin(ground, plugin("from"), "older-plugin"))
  await roll("back", sites.from, "back")
  mixed.push(...await withPlugin(ground, plugin("to"), "newer-plugin"))
  await roll("there again", sites.to, "again")

  console.log(`
from ${commit.slice(0, 7)} to this tree

| roll-out | took | pings | requests | pods that stayed | new pods | bird.conf | lost or wrong |
|---|---|---|---|---|---|---|---|`)
  for (const [what, stage] of rows) console.log(row(what, stage))
  console.log(`
a pod by the older plugin with the newer agent, and the other way round: ${mixed.join("; ") || "as any other"}`)
  if (mixed.length + rows.flatMap(([, { lost, problems }]) => [...lost, ...problems]).length > 0) process.exitCode = 1
} catch (error) {
  console.error(await describe(cluster))
  throw error
}
