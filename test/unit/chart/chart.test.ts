/** charts/flock says what manifests/ say; its values do what values.yaml says of them. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parse, parseAllDocuments, stringify } from "yaml"
import { chartFiles } from "../../../scripts/chart.ts"
import { render } from "./goTemplate.ts"

const chart = resolve(import.meta.dirname, "../../../charts/flock")
const manifests = resolve(import.meta.dirname, "../../../manifests")
const read = (...path: ReadonlyArray<string>): string => readFileSync(join(...path), "utf8")

// oxlint-disable-next-line typescript/no-explicit-any -- Kubernetes objects of every kind
type Any = any

const objects = (text: string): ReadonlyArray<Any> =>
  parseAllDocuments(text).map((document) => document.toJS() as Any).filter((it) => it !== null && it !== undefined)

const merged = (a: Any, b: Any): Any =>
  typeof a === "object" && a !== null && !Array.isArray(a) && typeof b === "object" && b !== null && !Array.isArray(b)
    ? Object.fromEntries(
      [...new Set([...Object.keys(a), ...Object.keys(b)])].map((
        key
      ) => [key, key in b ? key in a ? merged(a[key], b[key]) : b[key] : a[key]])
    )
    : b

/** By the stand-in. */
const rendered = (values: object = {}, namespace = "flock-system"): ReadonlyArray<Any> => {
  const { appVersion } = parse(read(chart, "Chart.yaml"))
  const data = {
    Values: merged(parse(read(chart, "values.yaml")), values),
    Release: { Namespace: namespace, Name: "flock" },
    Chart: { AppVersion: appVersion }
  }
  return readdirSync(join(chart, "templates")).filter((name) => name.endsWith(".yaml")).toSorted().flatMap((name) =>
    objects(render(read(chart, "templates", name), data, (file) => read(chart, file)))
  )
}

const byName = (list: ReadonlyArray<Any>) =>
  new Map(list.map((object) => [`${object.kind} ${object.metadata.namespace ?? ""}/${object.metadata.name}`, object]))

const find = (list: ReadonlyArray<Any>, kind: string, name?: string): Any =>
  list.find((object) => object.kind === kind && (name === undefined || object.metadata.name === name))

const VALUES = {
  images: { prefix: "registry.example.org/", tag: "1.2.3", pullSecrets: [{ name: "regcred" }] },
  nodeConfigs: {
    host001: { cidr4: "10.42.1.0/24", bgp: { asn: 65001, peers: [{ address: "2001:db8::1", asn: 65000 }] } },
    host002: { cidr4: "10.42.2.0/24" }
  },
  nodeConfigTemplates: { "rack-a": { nodeSelector: {}, template: { cidrs: "podCIDRs" } } },
  passwordSecrets: ["tor1", "tor2"],
  agent: { resources: { requests: { cpu: "1" } } },
  monitoring: true
}

describe("charts/flock", () => {
  it("is what scripts/chart.ts makes of manifests/", () => {
    for (const [path, text] of chartFiles()) {
      assert.isTrue(existsSync(join(chart, path)) && read(chart, path) === text, `${path}: npm run generate`)
    }
  })

  it("with its own values is manifests/, but for the images", () => {
    const expected = ["rbac.yaml", "admission.yaml", "daemonset.yaml"].flatMap((file) => objects(read(manifests, file)))
    const [ours, theirs] = [byName(rendered()), byName(expected)]
    assert.sameMembers([...ours.keys()], [...theirs.keys()])
    for (const [name, object] of theirs) {
      if (object.kind === "DaemonSet") {
        const { containers, initContainers } = object.spec.template.spec
        for (const container of [...containers, ...initContainers]) {
          container.image = `${container.image}:0.1.0`
          container.imagePullPolicy = "IfNotPresent"
        }
      }
      assert.deepStrictEqual(ours.get(name), object, name)
    }
  })

  it("takes registry, secrets, resources, NodeConfigs and templates from the values", () => {
    const list = rendered(VALUES, "net")
    const daemonSet = find(list, "DaemonSet")
    const { containers, imagePullSecrets, initContainers } = daemonSet.spec.template.spec
    const images = [...initContainers, ...containers].map((container: Any) => container.image)
    assert.deepStrictEqual(
      new Set(images),
      new Set(["agent", "bird"].map((it) => `registry.example.org/flock-${it}:1.2.3`))
    )
    assert.deepStrictEqual(imagePullSecrets, [{ name: "regcred" }])
    assert.strictEqual(daemonSet.metadata.namespace, "net")
    const agent = containers.find((container: Any) => container.name === "agent")
    assert.deepStrictEqual(agent.resources, { limits: { memory: "512Mi" }, requests: { cpu: "1", memory: "128Mi" } })
    assert.deepStrictEqual(agent.ports, [{ name: "metrics", containerPort: 9476 }])
    assert.deepInclude(agent.env, { name: "FLOCK_HTTP", value: "[::]:9476" })
    assert.deepStrictEqual(find(list, "Role").rules[0].resourceNames, ["tor1", "tor2"])
    for (const name of ["host001", "host002"] as const) {
      const { metadata, spec } = find(list, "NodeConfig", name)
      assert.deepStrictEqual(spec, VALUES.nodeConfigs[name])
      assert.deepStrictEqual(metadata.annotations, { "helm.sh/resource-policy": "keep" })
    }
    assert.deepStrictEqual(find(list, "NodeConfigTemplate").spec, VALUES.nodeConfigTemplates["rack-a"])
    for (const kind of ["PodMonitor", "PrometheusRule", "ConfigMap"]) {
      assert.strictEqual(find(list, kind).metadata.namespace, "net", kind)
    }
    const [alerts] = objects(read(manifests, "overlays/monitoring/alerts.yaml"))
    assert.deepStrictEqual(
      JSON.parse(JSON.stringify(find(list, "PrometheusRule").spec)),
      JSON.parse(JSON.stringify(alerts.spec).replaceAll("flock-system", "net"))
    )
    const dashboard = JSON.parse(find(list, "ConfigMap").data["flock.json"])
    assert.deepStrictEqual(dashboard, JSON.parse(read(manifests, "overlays/monitoring/dashboard.json")))
    // Nothing is left of the namespace that manifests/ name.
    assert.notInclude(JSON.stringify(list.filter(({ kind }) => kind !== "ConfigMap")), "flock-system")
    assert.isUndefined(find(rendered({ admissionPolicies: false }), "ValidatingAdmissionPolicy"))
  })

  const helm = spawnSync("helm", ["version"]).status === 0
  it.runIf(helm)("helm lints it and renders the same as the stand-in, and refuses values that mean nothing", () => {
    const folder = mkdtempSync(join(tmpdir(), "flock-chart-"))
    try {
      execFileSync("helm", ["lint", "--strict", chart])
      for (const values of [{}, VALUES, { admissionPolicies: false }]) {
        const file = join(folder, "values.yaml")
        writeFileSync(file, stringify(values))
        const text = execFileSync("helm", [
          "template",
          "flock",
          chart,
          "--kube-version",
          "1.36.3",
          "--namespace",
          "net",
          "--values",
          file
        ], {
          encoding: "utf8",
          maxBuffer: 64 << 20
        })
        assert.deepStrictEqual(byName(objects(text)), byName(rendered(values, "net")))
      }
      for (
        const wrong of ["image.tag=1", "monitoring=yes", "images.prefix=registry.example.org", "passwordSecrets={}"]
      ) {
        assert.notStrictEqual(
          spawnSync("helm", ["template", "flock", chart, "--kube-version", "1.36.3", "--set", wrong]).status,
          0,
          wrong
        )
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
