/** flock on a {@link Cluster} as the README says: its images, a folder `site` beside the tree, the router's side, labels. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import type { Cluster } from "./Cluster.ts"
import { exec, run } from "./exec.ts"
import { Frr } from "./frr.ts"
import { until } from "./until.ts"
import { World } from "./World.ts"

const TREE = resolve(import.meta.dirname, "..")

export const ROUTER_ASN = 65000
export const NODE_ASN = 65001

/** Node i's prefixes; the first node is 1. */
export const prefixes = (i: number) => ({ cidr6: `2001:db8:100:${i}::/64`, cidr4: `10.42.${i}.0/24` })

/** The router's addresses on node i's link, and the node's. */
export const link = (i: number) => ({
  router: [`2001:db8:ffff:${i}::1`, `203.0.113.${4 * i + 1}`] as const,
  node: [`2001:db8:ffff:${i}::2`, `203.0.113.${4 * i + 2}`] as const
})

/** What the tenants of the tests may announce. */
export const ANYCAST = { six: "2001:db8:a::/64", four: "198.18.53.0/24" }

export const nodeConfig = (i: number, spec: object = {}) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: { name: `node${i}` },
  spec: {
    ...prefixes(i),
    anycast: { allowedCIDRs: [ANYCAST.six, ANYCAST.four] },
    bgp: {
      asn: NODE_ASN,
      peers: link(i).router.map((address) => ({ address, asn: ROUTER_ASN, holdTimeSeconds: 9 }))
    },
    ...spec
  }
})

const routerConfig = (nodes: ReadonlyArray<number>): string => {
  const family = (name: "ipv4" | "ipv6", sign: string) => [
    ` address-family ${name} unicast`,
    ...nodes.flatMap((i) => link(i).node).map((address) =>
      `  ${address.includes(sign) ? "" : "no "}neighbor ${address} activate`
    ),
    " exit-address-family"
  ]
  return [
    "hostname tor",
    `router bgp ${ROUTER_ASN}`,
    " bgp router-id 198.51.100.2",
    " no bgp ebgp-requires-policy",
    ...nodes.flatMap((i) => link(i).node).flatMap((address) => [
      ` neighbor ${address} remote-as ${NODE_ASN}`,
      ` neighbor ${address} timers connect 1`,
      ` neighbor ${address} advertisement-interval 0`
    ]),
    ...family("ipv6", ":"),
    ...family("ipv4", "."),
    ""
  ].join("\n")
}

export const numbers = (cluster: Cluster): ReadonlyArray<number> =>
  Array.from({ length: cluster.place.nodes }, (_, i) => i + 1)

/** FRR in the router's namespace: for asking too, in another process than the one that started it. */
export const routerOf = (cluster: Cluster, world: World): Frr =>
  new Frr(world, cluster.netns("tor"), join(cluster.place.directory, "frr"))

export const startRouter = async (cluster: Cluster, world: World): Promise<Frr> => {
  const frr = routerOf(cluster, world)
  mkdirSync(frr.directory)
  await frr.start(routerConfig(numbers(cluster)))
  return frr
}

export const version = (): string => JSON.parse(readFileSync(join(TREE, "package.json"), "utf8")).version

/** `npm run images`, and both images onto every node. */
export const loadImages = async (cluster: Cluster): Promise<void> => {
  const out = join(cluster.place.directory, "images")
  await run("sh", join(TREE, "scripts/images/build.sh"), "--drift", out)
  await cluster.command("load", join(out, "flock-agent.tar"), join(out, "flock-bird.tar"))
}

/** The folder that the README has people make, for this cluster's images, with these objects in `nodes`. */
export const writeSite = (cluster: Cluster, objects: ReadonlyArray<object>): string => {
  const folder = join(cluster.place.directory, "site")
  symlinkSync(TREE, join(cluster.place.directory, "flock"))
  cpSync(join(TREE, "manifests/examples/site"), folder, { recursive: true })
  const kustomization = join(folder, "kustomization.yaml")
  writeFileSync(kustomization, readFileSync(kustomization, "utf8").replaceAll("registry.example.org/", "localhost/"))
  writeFileSync(
    join(folder, "nodes/nodeconfigs.yaml"),
    objects.map((object) => JSON.stringify(object)).join("\n---\n")
  )
  return folder
}

/** A folder's manifests; then the API server knows flock's kinds. */
export const applySite = async (cluster: Cluster, site: string): Promise<void> => {
  await cluster.kubectl("apply", "-k", site)
  const crds = ["crd", "-l", "app.kubernetes.io/name=flock"]
  await cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", ...crds)
}

/** The README's commands, in its order, `objects` as its NodeConfigs; then every node is Ready and its sessions are Established. */
export const install = async (
  cluster: Cluster,
  objects: ReadonlyArray<object> = numbers(cluster).map((i) => nodeConfig(i))
): Promise<void> => {
  const site = writeSite(cluster, objects)
  await applySite(cluster, site)
  await cluster.kubectl("apply", "-k", join(site, "nodes"))
  for (const i of numbers(cluster)) await cluster.kubectl("label", "node", `node${i}`, "flock.fritzlab.net/agent=")
  await establishedEverywhere(cluster)
}

/** Waits until the DaemonSet is rolled out, every node is Ready and its sessions are Established. */
export const establishedEverywhere = async (cluster: Cluster): Promise<void> => {
  await cluster.kubectl("-n", "flock-system", "rollout", "status", "daemonset/flock-agent", "--timeout=90s")
  for (const i of numbers(cluster)) {
    await cluster.ready(i)
    await established(cluster, i)
  }
}

/** Waits until the NodeConfig's status says that all sessions of node i are Established. */
export const established = (cluster: Cluster, i: number, seconds = 60): Promise<true> =>
  until(`node${i}'s sessions`, async () => {
    const { status } = await cluster.get("nodeconfig", `node${i}`)
    const peers: ReadonlyArray<{ readonly state: string }> = status?.peers ?? []
    return peers.length === 2 && peers.every(({ state }) => state === "Established")
  }, seconds)

/** Name of the agent's pod on node i. */
export const agentPod = async (cluster: Cluster, i: number): Promise<string> => {
  const selector = ["-l", "app.kubernetes.io/component=agent", "--field-selector", `spec.nodeName=node${i}`]
  const { items } = await cluster.get("-n", "flock-system", "pod", ...selector)
  const [pod] = items.filter(({ metadata }: { readonly metadata: { readonly deletionTimestamp?: string } }) =>
    metadata.deletionTimestamp === undefined
  )
  if (pod === undefined) throw new Error(`no agent on node${i}`)
  return pod.metadata.name
}

/** `kubectl exec` of a command in a container of flock's pod on node i. */
export const execIn = async (
  cluster: Cluster,
  i: number,
  container: "agent" | "bird",
  ...command: ReadonlyArray<string>
) => cluster.try("k", ["-n", "flock-system", "exec", await agentPod(cluster, i), "-c", container, "--", ...command])

/** What failed, for whoever reads CI's output. */
export const describe = async (cluster: Cluster): Promise<string> => {
  const commands = [
    ["get", "nodes", "-o", "wide"],
    ["get", "nodeconfigs", "-o", "wide"],
    ["get", "pods", "-A", "-o", "wide"],
    ["get", "events", "-A", "--sort-by=.lastTimestamp"],
    ["-n", "flock-system", "logs", "-l", "app.kubernetes.io/component=agent", "-c", "agent", "--tail=40"]
  ]
  const parts = await Promise.all(commands.map(async (command) => {
    const { stderr, stdout } = await cluster.try("k", command)
    return `# kubectl ${command.join(" ")}\n${stdout.split("\n").slice(-60).join("\n")}${stderr}`
  }))
  const routes = await exec("ip", ["-n", cluster.netns("tor"), "-6", "route"])
  return [...parts, `# ip -6 route in tor\n${routes.stdout}`].join("\n")
}
