/** manifests/admission.yaml: what an agent's token may write is its own node's, whoever holds it. With a real API server. */
import { assert, describe, it } from "@effect/vitest"
import { afterAll, beforeAll } from "vitest"
import { type Answer, type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "./lab.ts"

const OTHER = "host002"
const MERGE = "application/merge-patch+json"
const SMP = "application/strategic-merge-patch+json"

const nodePath = (name: string) => `/api/v1/nodes/${name}`
const nodeConfigPath = (name: string) => `${lab.NODECONFIGS}/${name}`

/** Made from a template, so that no other rule refuses it as well: which of several the server names is its own affair. */
const templated = (name: string) => {
  const object = lab.nodeConfig(name)
  return { ...object, metadata: { ...object.metadata, labels: { "flock.fritzlab.net/template": "rack-a" } } }
}

const unavailable = (status: string) => ({
  status: { conditions: [{ type: "NetworkUnavailable", status, reason: "FlockReady", message: "" }] }
})

describe.runIf(available)("an agent's token, with a real API server", () => {
  const world = new World()
  let api: ApiServer
  /** Of the agent's pod on lab.NODE; and one that is bound to no pod. */
  let own: { readonly token: string }
  let unbound: { readonly token: string }

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
    await lab.create(api, lab.node(OTHER))
    for (const name of [lab.NODE, OTHER]) await lab.create(api, templated(name))
    // what kubelet and administrators have written there
    const filled = {
      metadata: { labels: { zone: "a" }, annotations: { note: "n" } },
      status: {
        capacity: { cpu: "2", memory: "4Gi" },
        addresses: [{ type: "InternalIP", address: "192.0.2.7" }],
        conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", message: "" }]
      }
    }
    assert.strictEqual((await api.call("PATCH", nodePath(lab.NODE), { metadata: filled.metadata }, MERGE)).status, 200)
    const { status } = await api.call("PATCH", `${nodePath(lab.NODE)}/status`, { status: filled.status }, SMP)
    assert.strictEqual(status, 200)
    // more than the agent is granted, so that it is admission that refuses, and also what a later version may be granted
    await lab.create(api, {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata: { name: "more" },
      rules: [
        { apiGroups: [""], resources: ["nodes", "nodes/status"], verbs: ["*"] },
        { apiGroups: ["flock.fritzlab.net"], resources: ["nodeconfigs", "nodeconfigs/status"], verbs: ["*"] }
      ]
    })
    await lab.create(api, {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name: "more" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "more" },
      subjects: [{ kind: "ServiceAccount", name: "flock-agent", namespace: lab.NAMESPACE }]
    })
    own = { token: await lab.tokenOf(api, lab.AGENT_POD) }
    unbound = { token: await lab.tokenOf(api) }
    // policies and rights are in force some time after they are written
    for (
      const [name, policy] of [[OTHER, /may not write of host002/], [lab.NODE, /no condition of a Node but/]] as const
    ) {
      const body = name === OTHER
        ? unavailable("False")
        : { status: { conditions: [{ type: "Ready", status: "False", reason: "x", message: "" }] } }
      await until(
        `the policy: ${policy}`,
        async () => policy.test(said(await api.call("PATCH", `${nodePath(name)}/status?dryRun=All`, body, SMP, own)))
      )
    }
  })
  afterAll(() => world.close())

  const said = ({ body }: Answer): string => String(body.message)

  /** Why it was refused: 422 is what admission answers. */
  const refusal = (answer: Answer): string => {
    assert.strictEqual(answer.status, 422, said(answer))
    return said(answer)
  }

  it("writes the condition of its own node, new, changed and by replacing, and its NodeConfig's status", async () => {
    for (const status of ["True", "False"]) {
      const answer = await api.call("PATCH", `${nodePath(lab.NODE)}/status`, unavailable(status), SMP, own)
      assert.strictEqual(answer.status, 200, said(answer))
    }
    const { body } = await api.call("GET", nodePath(lab.NODE))
    assert.strictEqual(
      (await api.call("PUT", `${nodePath(lab.NODE)}/status`, body, undefined, own)).status,
      200,
      "nothing changed"
    )
    const status = { status: { observedGeneration: 1 } }
    assert.strictEqual((await api.call("PATCH", `${nodeConfigPath(lab.NODE)}/status`, status, MERGE, own)).status, 200)
  })

  it.each(
    [
      ["a Node's status", "PATCH", `${nodePath(OTHER)}/status`, unavailable("True"), SMP],
      ["a Node", "PATCH", nodePath(OTHER), { metadata: { labels: { a: "b" } } }, MERGE],
      ["a Node, deleted", "DELETE", nodePath(OTHER), undefined, undefined],
      ["a Node, made", "POST", "/api/v1/nodes", lab.node("host003"), undefined],
      [
        "a NodeConfig's status",
        "PATCH",
        `${nodeConfigPath(OTHER)}/status`,
        { status: { observedGeneration: 9 } },
        MERGE
      ],
      ["a NodeConfig", "PATCH", nodeConfigPath(OTHER), { spec: { mtu: 1400 } }, MERGE],
      ["a NodeConfig, made", "POST", lab.NODECONFIGS, templated("host003"), undefined],
      ["a NodeConfig, deleted", "DELETE", nodeConfigPath(OTHER), undefined, undefined],
      ["all NodeConfigs, deleted", "DELETE", lab.NODECONFIGS, undefined, undefined]
    ] as const
  )("may not write of another node: %s", async (_, method, path, body, type) => {
    assert.match(refusal(await api.call(method, path, body, type, own)), /flock-agent of node host001 may not write of/)
    for (const name of [lab.NODE, OTHER]) {
      assert.strictEqual((await api.call("GET", nodeConfigPath(name))).status, 200)
      assert.strictEqual((await api.call("GET", nodePath(name))).status, 200)
    }
  })

  it.each(
    [
      [
        "another condition",
        { status: { conditions: [{ type: "Ready", status: "False", reason: "x", message: "" }] } },
        SMP
      ],
      ["a condition that is not there yet", {
        status: { conditions: [{ type: "DiskPressure", status: "True", reason: "x", message: "" }] }
      }, SMP],
      ["a condition, removed", unavailable("True"), MERGE]
    ] as const
  )("may not write %s", async (_, body, type) => {
    assert.match(
      refusal(await api.call("PATCH", `${nodePath(lab.NODE)}/status`, body, type, own)),
      /may write no condition of a Node but NetworkUnavailable/
    )
  })

  it.each(
    [
      ["a capacity", { status: { capacity: { "example.org/gpu": "8" } } }],
      ["an address", { status: { addresses: [{ type: "InternalIP", address: "192.0.2.8" }] } }],
      ["images", { status: { images: [{ names: ["x"], sizeBytes: 1 }] } }],
      ["a field, removed", { status: { addresses: null } }]
    ] as const
  )("may not write of its node's status %s", async (_, body) => {
    assert.match(
      refusal(await api.call("PATCH", `${nodePath(lab.NODE)}/status`, body, MERGE, own)),
      /may write nothing of a Node's status but its conditions/
    )
  })

  it.each(
    [
      ["a label", { metadata: { labels: { zone: "b" } } }],
      ["a label, removed", { metadata: { labels: null } }],
      ["an annotation", { metadata: { annotations: { more: "x" } } }],
      ["a finalizer", { metadata: { finalizers: ["example.org/stay"] } }]
    ] as const
  )("may not write %s along with the status", async (_, body) => {
    assert.match(
      refusal(await api.call("PATCH", `${nodePath(lab.NODE)}/status`, { ...body, ...unavailable("True") }, MERGE, own)),
      /may not write a Node's labels, annotations, finalizers or owners|no condition of a Node but/
    )
    const { body: { metadata } } = await api.call("GET", nodePath(lab.NODE))
    assert.deepStrictEqual([metadata.labels, metadata.annotations, metadata.finalizers], [
      { zone: "a" },
      { note: "n" },
      undefined
    ])
  })

  it("writes nothing with a token that names no node", async () => {
    for (
      const [path, body, type] of [
        [`${nodePath(lab.NODE)}/status`, unavailable("True"), SMP],
        [`${nodeConfigPath(lab.NODE)}/status`, { status: { observedGeneration: 3 } }, MERGE]
      ] as const
    ) {
      assert.match(
        refusal(await api.call("PATCH", path, body, type, unbound)),
        /the token of flock-agent names no node/
      )
    }
  })

  it("binds nobody else: kubelet and administrators write as before", async () => {
    for (const name of [lab.NODE, OTHER]) {
      const ready = {
        status: { conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", message: "m" }] }
      }
      assert.strictEqual((await api.call("PATCH", `${nodePath(name)}/status`, ready, SMP)).status, 200)
    }
  })

  it("reads the Secrets that are named, and no other, nor all", async () => {
    const secrets = `/api/v1/namespaces/${lab.NAMESPACE}/secrets`
    const status = async (path: string) => (await api.call("GET", path, undefined, undefined, own)).status
    assert.strictEqual(await status(`${secrets}?fieldSelector=metadata.name%3Dtor`), 200)
    for (
      const path of [
        secrets,
        `${secrets}?fieldSelector=metadata.name%3Dother`,
        `${secrets}?fieldSelector=metadata.name!%3Dtor`,
        `${secrets}?fieldSelector=type%3DOpaque`,
        `${secrets}/tor`,
        "/api/v1/secrets?fieldSelector=metadata.name%3Dtor",
        "/api/v1/namespaces/kube-system/secrets?fieldSelector=metadata.name%3Dtor"
      ]
    ) {
      assert.strictEqual(await status(path), 403, path)
    }
  })
})
