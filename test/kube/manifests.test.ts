/** Every manifest as a cluster would take it: `kubectl apply --dry-run=server`, over HTTP where there is no kubectl. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, pathOf, start } from "../../lab/ApiServer.ts"
import { World } from "../../lab/World.ts"
import * as lab from "./lab.ts"

const base: ReadonlyArray<string> = lab.documents("kustomization.yaml")[0].resources
const examples = readdirSync(join(lab.manifests, "examples")).filter((f) => f.endsWith(".yaml")).map((f) =>
  `examples/${f}`
)

describe.runIf(available)("the manifests, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world)
  })
  afterAll(() => world.close())

  it("creates the CRD with its CEL rules", async () => {
    const [crd] = lab.documents("crd.yaml")
    const { body, status } = await api.call("POST", `${pathOf(crd).replace(/\/[^/]*$/, "")}?dryRun=All`, crd)
    assert.strictEqual(status, 201, JSON.stringify(body))
    await lab.prepare(api)
    const { body: { status: { conditions } } } = await api.call("GET", pathOf(crd))
    // a schema that is not structural would say so in NonStructuralSchema
    assert.deepStrictEqual(
      conditions.map((c: { readonly type: string; readonly status: string }) => `${c.type}=${c.status}`).toSorted(),
      ["Established=True", "NamesAccepted=True"]
    )
  })

  it.each([...base, ...examples, "examples/site/nodes/nodeconfigs.yaml"])(
    "applies %s (server-side dry run)",
    async (file) => {
      for (const document of lab.documents(file)) {
        const { body, status } = await api.call(
          "PATCH",
          `${pathOf(document)}?dryRun=All&fieldManager=flock-test&force=true`,
          document,
          "application/apply-patch+yaml"
        )
        assert.oneOf(status, [200, 201], `${document.kind} ${document.metadata.name}: ${JSON.stringify(body)}`)
      }
    }
  )

  it("builds and applies with kubectl, all components on top, where there is a kubectl", (context) => {
    if (spawnSync("kubectl", ["version", "--client"]).status !== 0) {
      return context.skip("no kubectl on this machine: the server-side dry runs above stand for it")
    }
    const dir = mkdtempSync(join(tmpdir(), `flock-site-${process.pid}-`))
    try {
      cpSync(lab.manifests, join(dir, "flock/manifests"), { recursive: true })
      cpSync(join(lab.manifests, "examples/site"), join(dir, "site"), { recursive: true })
      const file = join(dir, "site/kustomization.yaml")
      writeFileSync(file, readFileSync(file, "utf8").replace(/^# ( {2}|components:|patches:)/gm, "$1"))
      const built = spawnSync("kubectl", ["kustomize", join(dir, "site")], { encoding: "utf8" })
      assert.strictEqual(built.status, 0, built.stderr)
      assert.include(built.stdout, "kind: PodMonitor")
      assert.include(built.stdout, "kind: PrometheusRule")
      assert.match(built.stdout, /grafana_dashboard: "1"/)
      assert.notInclude(built.stdout, "ValidatingAdmission", "overlays/before-1.30")
      assert.match(built.stdout, /resourceNames:\n +- tor1\n +- tor2\n/)
      assert.include(built.stdout, "image: registry.example.org/flock-agent:0.1.0")
      assert.match(built.stdout, /name: FLOCK_HTTP\n +value: '\[::\]:9476'/)
      // the Prometheus operator's kinds are not on this server
      const input = built.stdout.split(/^---$/m).filter((d) => !/kind: (PodMonitor|PrometheusRule)/.test(d)).join(
        "---\n"
      )
      const kubectl = ["--kubeconfig", api.kubeconfig("admin"), "apply", "--dry-run=server", "-f", "-"]
      const applied = spawnSync("kubectl", kubectl, { input, encoding: "utf8" })
      assert.strictEqual(applied.status, 0, applied.stderr)
      const nodes = ["apply", "--dry-run=server", "-k", join(dir, "site/nodes")]
      const second = spawnSync("kubectl", ["--kubeconfig", api.kubeconfig("admin"), ...nodes], { encoding: "utf8" })
      assert.strictEqual(second.status, 0, second.stderr)
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
})
