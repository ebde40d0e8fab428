/** The agent under exactly the rights of manifests/rbac.yaml: enough, none too many, and few requests. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, pathOf, start } from "../../lab/ApiServer.ts"
import { World } from "../../lab/World.ts"
import type { FleetApi } from "../../src/kube/fleetApi.ts"
import * as lab from "./lab.ts"

interface Rule {
  readonly apiGroups: ReadonlyArray<string>
  readonly resources: ReadonlyArray<string>
  readonly verbs: ReadonlyArray<string>
  readonly resourceNames?: ReadonlyArray<string>
}

interface Role {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly rules: ReadonlyArray<Rule>
}

const roles: ReadonlyArray<Role> = lab.documents("rbac.yaml").filter(({ kind }) => /^(Cluster)?Role$/.test(kind))

const grants = roles.flatMap((role) =>
  role.rules.flatMap((rule) =>
    rule.resources.flatMap((resource) =>
      rule.verbs.map((verb) => ({
        role,
        resource,
        verb,
        group: rule.apiGroups[0] ?? "",
        name: rule.resourceNames?.[0]
      }))
    )
  )
)

const AGENT = "system:serviceaccount:flock-system:flock-agent"

describe.runIf(available)("the agent's rights, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world, "--audit-policy-file=DIR/audit.yaml --audit-log-path=DIR/audit.log")
    await lab.prepare(api)
    await lab.create(api, {
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfigTemplate",
      metadata: { name: "rack-a" },
      spec: { nodeSelector: {}, template: {} }
    })
    await lab.create(api, lab.pod("elsewhere", {}, "host002"))
  })
  afterAll(() => world.close())

  const templated = {
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: lab.NODE, labels: { "flock.fritzlab.net/template": "rack-a" } },
    spec: lab.nodeConfig().spec
  }

  /** What an agent asks whose node may follow a template; its NodeConfig is made, and applied once more. */
  const followTemplate = Effect.fnUntraced(function*(fleet: FleetApi | undefined) {
    assert.isDefined(fleet)
    if (fleet === undefined) return
    yield* Effect.promise(() => api.call("DELETE", `${lab.NODECONFIGS}/${lab.NODE}`))
    yield* Effect.forkScoped(Stream.runDrain(fleet.templates))
    yield* Effect.forkScoped(Stream.runDrain(fleet.node))
    yield* Effect.ignore(fleet.applyNodeConfig(templated))
    yield* Effect.promise(() => api.call("POST", lab.NODECONFIGS, templated))
    yield* Effect.ignore(fleet.applyNodeConfig(templated))
    const status = { apiVersion: templated.apiVersion, kind: "NodeConfigTemplate", metadata: { name: "rack-a" } }
    yield* Effect.ignore(fleet.applyTemplateStatus("rack-a", status))
  })

  /** Everything the agent ever asks of the API server; refusals are for the caller to look at. */
  const everything = Effect.fnUntraced(function*(rounds: number) {
    const kube = yield* lab.agent(api.kubeconfig("agent"))
    yield* followTemplate(kube.fleet)
    for (let i = 0; i < rounds; i++) {
      yield* Effect.ignore(kube.setNodeCondition({ status: "False", reason: "FlockReady", message: "" }))
      yield* kube.setStatus({ observedGeneration: i, conditions: [], addresses: {}, peers: [] })
      yield* Effect.ignore(kube.pod({ namespace: "default", name: "elsewhere", uid: "" }))
      yield* kube.event({ on: { kind: "Node" }, type: "Normal", reason: "Test", message: "" })
      if (i === 0) yield* Effect.forkScoped(Effect.ignore(kube.secret({ name: "tor", key: "password" })))
      yield* Effect.sleep(50)
    }
    return kube
  })

  /** An apply (a PATCH) that makes the object is authorized as a create as well, and answered 201. */
  const byApply = (grant: (typeof grants)[number]) => grant.verb === "create" && grant.resource === "nodeconfigs"

  const seen = (grant: (typeof grants)[number], code: string) =>
    lab.requestsSeen({ verb: byApply(grant) ? "patch" : grant.verb, resource: grant.resource, code })

  const used = (grant: (typeof grants)[number]) =>
    (byApply(grant) ? 0 : seen(grant, "200")) +
    (grant.verb === "patch" && grant.resource === "nodeconfigs" ? 0 : seen(grant, "201"))

  it.live("manifests/rbac.yaml is enough: every right is used and nothing is forbidden", () =>
    Effect.gen(function*() {
      const forbidden = lab.requestsSeen({ code: "403" })
      yield* everything(3)
      for (const grant of grants) {
        yield* lab.wait(`${grant.verb} ${grant.resource}`, () => used(grant) > 0)
      }
      assert.strictEqual(lab.requestsSeen({ code: "403" }), forbidden)
    }).pipe(Effect.scoped))

  it.live.each(grants)(
    "$verb $resource is needed: without it something is forbidden",
    (grant) =>
      Effect.gen(function*() {
        const { role } = grant
        const put = (rules: ReadonlyArray<Rule>) =>
          Effect.promise(() => api.call("PUT", pathOf(role), { ...role, rules }))
        const may = async () => {
          const [resource, subresource] = grant.resource.split("/")
          const spec = {
            resourceAttributes: {
              group: grant.group,
              resource,
              subresource,
              verb: grant.verb,
              name: grant.name,
              namespace: role.metadata.namespace
            }
          }
          const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec }
          const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
          return (await api.call("POST", path, body, "application/json", "agent")).body.status.allowed === true
        }
        const less = role.rules.map((rule) => ({
          ...rule,
          verbs: rule.resources.includes(grant.resource) ? rule.verbs.filter((v) => v !== grant.verb) : rule.verbs
        })).filter(({ verbs }) => verbs.length > 0)
        yield* put(less)
        yield* Effect.addFinalizer(() => put(role.rules).pipe(Effect.andThen(lab.wait("restored", may))))
        yield* lab.wait("taken away", async () => !(await may()))
        const before = seen(grant, "403")
        yield* everything(3)
        yield* lab.wait("a refusal", () => seen(grant, "403") > before)
      }).pipe(Effect.scoped)
  )

  it.live("an idle agent asks nothing: its watches stay open, and the condition is one patch", () =>
    Effect.gen(function*() {
      const audit = () =>
        readFileSync(join(api.dir, "audit.log"), "utf8").split("\n").filter((line) =>
          line.includes(AGENT) && line.includes("\"stage\":\"RequestReceived\"")
        ).map((line) => JSON.parse(line) as { readonly verb: string; readonly requestURI: string })
      const start = audit().length
      const kube = yield* everything(1)
      yield* lab.wait("four watches", () => audit().slice(start).filter(({ verb }) => verb === "watch").length >= 4)
      yield* Effect.sleep(1000)
      const before = audit().length
      yield* Effect.sleep(5000)
      assert.deepStrictEqual(audit().slice(before), [])
      yield* kube.setNodeCondition({ status: "False", reason: "FlockReady", message: "again" })
      yield* lab.wait("the patch", () => audit().length > before)
      const asked = audit().slice(before).map(({ requestURI, verb }) => `${verb} ${requestURI}`)
      assert.deepStrictEqual(asked, [`patch /api/v1/nodes/${lab.NODE}/status`])
    }).pipe(Effect.scoped))
})
