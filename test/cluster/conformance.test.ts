/** Some of Kubernetes' own tests of the network, each a test here; `npm run conformance` runs all (docs/conformance.md). */
import { assert, it } from "@effect/vitest"
import { beforeAll } from "vitest"
import { until } from "../../lab/until.ts"
import { leftNamespaces, prepare, runTests } from "../conformance/e2e.ts"
import type { Result } from "../conformance/report.ts"
import { IN_CI } from "../conformance/selection.ts"
import { timed } from "./bringUp.ts"
import { onCluster } from "./fixture.ts"

onCluster("Kubernetes' own tests", ({ cluster }) => {
  const results: Array<Result> = []

  beforeAll(async () => {
    await timed("image of the tests and DNS", () => prepare(cluster))
    const options = { processes: 5, seconds: 300 }
    const first = await timed(`${IN_CI.length} tests`, () => runTests(cluster, IN_CI, options))
    // Their limits are for a machine that does nothing else.
    const again = first.filter(({ outcome }) => outcome === "failed").map(({ name }) => name)
    for (const { detail, name } of first) if (again.includes(name)) console.error(`${name}: ${detail}: tried once more`)
    results.push(...await runTests(cluster, again, options), ...first)
    await timed(
      "the end of their namespaces",
      () => until("their namespaces are gone", async () => (await leftNamespaces(cluster)).length === 0, 120)
    )
  }, 900_000)

  it.each(IN_CI)("%s", (name) => {
    const { detail, outcome } = results.find((result) => result.name === name) ?? {}
    assert.deepStrictEqual({ detail, outcome }, { detail: "", outcome: "passed" })
  })
})
