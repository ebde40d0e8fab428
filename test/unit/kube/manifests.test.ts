/** The manifests against the code: names, flags, paths; and the promises that a reader of the DaemonSet relies on. */
import { assert, describe, it } from "@effect/vitest"
import { KubeConfig } from "@kubernetes/client-node/dist/config.js"
import { readdirSync, readFileSync } from "node:fs"
import { basename, dirname, resolve } from "node:path"
import { parseAllDocuments } from "yaml"
import { DEFAULT_SOCKET } from "../../../src/cli/flags.ts"
import { CONFLIST_NAME, makeConflist } from "../../../src/install/conflist.ts"
import { inWords, RIGHTS } from "../../../src/kube/rights.ts"
import { VERSION } from "../../../src/process/version.ts"
import { runFlags } from "../../../src/Settings.ts"

const folder = resolve(import.meta.dirname, "../../../manifests")
const text = (file: string) => readFileSync(resolve(folder, file), "utf8")
const documents = (file: string) => parseAllDocuments(text(file)).map((d) => d.toJS())

const [daemonSet] = documents("daemonset.yaml")
const pod = daemonSet.spec.template.spec
const [installCni] = pod.initContainers

interface Mount {
  readonly name: string
  readonly mountPath: string
  readonly mountPropagation?: string
  readonly readOnly?: boolean
}

interface Source {
  readonly path?: string
  readonly items?: ReadonlyArray<{ readonly path: string }>
}

interface Volume {
  readonly name: string
  readonly hostPath?: { readonly path: string }
}

const mounts = ({ volumeMounts }: { readonly volumeMounts: ReadonlyArray<Mount> }) =>
  Object.fromEntries(volumeMounts.map(({ mountPath, name }) => [name, mountPath]))

/** Where client-node's `loadFromCluster` reads. */
const tokenFiles = (): ReadonlyArray<string> => {
  const config = new KubeConfig()
  config.loadFromCluster()
  return [config.clusters[0]?.caFile ?? "", config.users[0]?.authProvider?.config.tokenFile ?? ""]
}

const containerOf = (name: string) =>
  pod.containers.find((c: { readonly name: string }) => c.name === name) ?? assert.fail(`no container ${name}`)
const agent = containerOf("agent")
const bird = containerOf("bird")

describe("the DaemonSet", () => {
  it("gives the agent flags and variables that it knows", () => {
    const flags: ReadonlyArray<string> = agent.command.filter((word: string) => word.startsWith("--"))
    const known = Object.keys(runFlags).map((name) => `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`)
    assert.includeMembers(known, [...flags])
    const variables = [
      "NODE_NAME",
      "FLOCK_PROC_SYS_NET",
      ...known.map((flag) => `FLOCK_${flag.slice(2).toUpperCase().replaceAll("-", "_")}`)
    ]
    assert.includeMembers(variables, agent.env.map(({ name }: { readonly name: string }) => name))
    assert.deepStrictEqual(installCni.command.slice(0, 4), ["flock-agent", "install-cni", "--only", "plugin"])
  })

  it("shares the agent's folders with BIRD and the host at the agent's default paths", () => {
    assert.strictEqual(DEFAULT_SOCKET, "/run/flock/agent.sock")
    assert.strictEqual(mounts(agent)["run-flock"], "/run/flock")
    assert.match(
      bird.command.join(" "),
      /bird -f -R -c \/run\/flock\/bird\/bird\.conf -s \/run\/flock\/bird\/bird\.ctl/
    )
    const paths = pod.volumes.filter((v: Volume) => v.name.startsWith("run-flock")).map((v: Volume) => v.hostPath?.path)
    assert.deepStrictEqual(paths, ["/run/flock", "/run/flock/bird"])
    const propagated = agent.volumeMounts.filter((m: Mount) => m.mountPropagation === "HostToContainer")
    assert.deepStrictEqual(propagated.map((m: Mount) => m.mountPath), ["/run/netns", "/var/run/netns"])
    for (const container of [installCni, agent, bird]) {
      for (const { name } of container.volumeMounts as ReadonlyArray<Mount>) {
        assert.isTrue(pod.volumes.some((v: { readonly name: string }) => v.name === name), name)
      }
    }
  })

  it("is killed for no router's failure", () => {
    assert.deepStrictEqual(agent.livenessProbe.exec.command, ["flock-cni", "alive"])
    assert.strictEqual(agent.readinessProbe.httpGet.path, "/readyz")
    assert.isUndefined(bird.livenessProbe)
    const address = agent.env.find(({ name }: { readonly name: string }) => name === "FLOCK_HTTP").value
    const { httpGet } = agent.readinessProbe
    assert.strictEqual(`${httpGet.host}:${httpGet.port}`, address)
  })

  it("is not ended because its HTTP port is taken: the probe's command is in both images", () => {
    assert.isUndefined(agent.livenessProbe.httpGet)
    for (const file of ["scripts/images/agent.sh", "flake.nix"]) {
      assert.match(
        readFileSync(resolve(folder, "..", file), "utf8"),
        /ln -s \S*lib\/flock\/cni\/flock \S*bin\/flock-cni/
      )
    }
  })

  it("runs on labelled nodes however tainted, before other pods, and is replaced node by node", () => {
    const [term] = pod.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
    assert.deepStrictEqual(term.matchExpressions, [{ key: "flock.fritzlab.net/agent", operator: "Exists" }])
    assert.deepStrictEqual(pod.tolerations, [{ operator: "Exists" }])
    assert.strictEqual(pod.priorityClassName, "system-node-critical")
    assert.strictEqual(pod.hostNetwork, true)
    assert.strictEqual(daemonSet.spec.updateStrategy.rollingUpdate.maxUnavailable, "10%")
    for (const container of [installCni, agent, bird]) assert.isDefined(container.resources.requests.memory)
  })

  it("has no more rights than named capabilities", () => {
    for (const container of [installCni, agent, bird]) {
      const { securityContext } = container
      assert.isUndefined(securityContext.privileged)
      assert.isFalse(securityContext.allowPrivilegeEscalation)
      assert.isTrue(securityContext.readOnlyRootFilesystem)
      assert.deepStrictEqual(securityContext.capabilities.drop, ["ALL"])
    }
    assert.isUndefined(pod.hostPID)
    assert.deepStrictEqual(pod.securityContext.seccompProfile, { type: "RuntimeDefault" })
    const added = [installCni, agent, bird].map(({ securityContext }) => securityContext.capabilities.add)
    assert.deepStrictEqual(added, [
      ["DAC_OVERRIDE"],
      ["NET_ADMIN", "SYS_ADMIN", "DAC_OVERRIDE"],
      ["NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"]
    ])
  })

  it("gives BIRD its own folder alone, and the agent alone a token, where client-node looks for one", () => {
    assert.deepStrictEqual(mounts(bird), { "run-flock-bird": "/run/flock/bird" })
    assert.deepStrictEqual(mounts(installCni), { "cni-bin": "/host/opt/cni/bin" })
    assert.isFalse(pod.automountServiceAccountToken)
    const projected = pod.volumes.filter((v: object) => "projected" in v)
    assert.deepStrictEqual(projected.map((v: Volume) => v.name), ["api-access"])
    const wanted = tokenFiles()
    assert.deepStrictEqual(wanted.map((path) => dirname(path)), wanted.map(() => mounts(agent)["api-access"]))
    const files = projected[0].projected.sources.flatMap((source: Record<string, Source>) =>
      Object.values(source).flatMap(({ items, path }) => path ?? (items ?? []).map((item) => item.path))
    )
    assert.includeMembers(files, wanted.map((path) => basename(path)))
  })
})

describe("the manifests", () => {
  it("are all in the kustomization, in one namespace, at one version", () => {
    const [kustomization] = documents("kustomization.yaml")
    const files = readdirSync(folder).filter((f) => f.endsWith(".yaml") && f !== "kustomization.yaml")
    assert.sameMembers(kustomization.resources, files)
    for (const { newTag } of kustomization.images) assert.strictEqual(newTag, VERSION)
    const all = kustomization.resources.flatMap(documents)
    const namespaces = new Set(
      all.map((d: { readonly metadata: { readonly namespace?: string } }) => d.metadata.namespace)
    )
    assert.sameMembers([...namespaces], [undefined, "flock-system"])
  })

  it("grant what doctor asks for, and nothing else", () => {
    const granted = documents("rbac.yaml").filter(({ kind }) => kind === "ClusterRole").flatMap((d) => d.rules).flatMap(
      ({ apiGroups: [group], resources, verbs }) =>
        resources.flatMap((resource: string) => verbs.map((verb: string) => `${group} ${verb} ${resource}`))
    )
    assert.sameMembers(granted, RIGHTS.map((right) => `${right.group} ${inWords(right)}`))
  })

  it("grant no wildcard and nothing that writes a Secret or a Pod", () => {
    const rules = documents("rbac.yaml").flatMap((d) => d.rules ?? [])
    for (const { apiGroups, resourceNames = [], resources, verbs } of rules) {
      assert.notIncludeMembers([...apiGroups, ...resources, ...verbs], ["*"])
      if (resources.includes("secrets")) assert.isNotEmpty(resourceNames)
      if (["secrets", "pods"].some((r) => resources.includes(r))) {
        assert.isEmpty(verbs.filter((verb: string) => !["get", "list", "watch"].includes(verb)))
      }
    }
  })

  it("have the conflist that the agent writes", () => {
    assert.strictEqual(text(CONFLIST_NAME), makeConflist([{ type: "portmap", versions: ["1.0.0"] }]).text)
  })
})
