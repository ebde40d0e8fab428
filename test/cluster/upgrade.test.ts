/**
 * Roll back to the commit before this one and forth again: its agent, plugin and manifests, in this tree's images, for CI has
 * seconds. `npm run upgrade` does it with whole images, and from any commit.
 */
import { assert, it } from "@effect/vitest"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { commitOf, hasSamePackages, prepare, type Release, releaseOf } from "../../lab/release.ts"
import { rollTo, standing } from "../upgrade/stage.ts"
import { onCluster } from "./fixture.ts"

const found = await commitOf("HEAD~1")
const commit = found !== undefined && await hasSamePackages(found) ? found : undefined
if (commit === undefined) console.warn("SKIPPED: this clone lacks the commit before HEAD, or that has other packages")

onCluster("the release before", (ground) => {
  it.skipIf(commit === undefined)(
    "rolls back to it and forth again: nothing is lost, given twice or not kept",
    async () => {
      const { cluster, world } = ground
      const { directory } = cluster.place
      const archives = ["agent", "bird"].map((name) => join(directory, `images/flock-${name}.tar`))
      const own: Release = { tag: "", tree: "", archives }
      assert.isTrue(archives.every((file) => existsSync(file)))
      const before = await releaseOf(commit ?? "", "before", world.folder("before"), own, { dist: true })
      const sites = { back: await prepare(cluster, before), forth: join(directory, "site") }
      const addresses = await standing(ground)
      for (const [name, site] of Object.entries(sites)) {
        const { fetches, kept, lost, made, pings, problems, sameConfiguration, seconds } = await rollTo(
          ground,
          site,
          name,
          addresses
        )
        console.log(
          `${name}: ${seconds.toFixed(0)} s, ${pings} pings, ${fetches} requests, ${kept} pods kept, ${made} made`
        )
        assert.deepStrictEqual(problems, [])
        if (sameConfiguration) assert.deepStrictEqual(lost, [])
        else {console.log(
            `bird.conf is another: what restarted for it lost ${lost.length === 0 ? "nothing" : lost.join("; ")}`
          )}
        assert.isAbove(pings, 100)
        assert.isAbove(fetches, 100)
        assert.strictEqual(made, 8)
      }
    },
    300_000
  )
})
