/** {@link file://./site.ts} with one NodeConfigTemplate in place of NodeConfigs: prefixes by kube-controller-manager, values by the Nodes. */
import { place } from "../src/fleet/failures.ts"
import { Cluster } from "./Cluster.ts"
import { ANYCAST, describe, install, link, loadImages, NODE_ASN, numbers, ROUTER_ASN, startRouter } from "./site.ts"
import { World } from "./World.ts"

export const TEMPLATE = "rack-a"
export const RACK = "topology.example.org/rack"
export const ASN = "topology.example.org/asn"
const TOR4 = "example.org/tor4"

/** What gives each Node its `spec.podCIDRs`. */
const KCM_FLAGS = [
  "--allocate-node-cidrs=true",
  "--cluster-cidr=10.42.0.0/16,2001:db8:100::/48",
  "--node-cidr-mask-size-ipv4=24",
  "--node-cidr-mask-size-ipv6=64"
].join(" ")

export interface TemplateOptions {
  /** Default: at once. */
  readonly seconds?: number
  readonly peerAsn?: number
  /** Of the NodeConfigSpec. */
  readonly more?: object
}

/** A peer by the default gateway, the other by an annotation. */
export const template = ({ more = {}, peerAsn = ROUTER_ASN, seconds = 0 }: TemplateOptions = {}) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfigTemplate",
  metadata: { name: TEMPLATE },
  spec: {
    nodeSelector: { matchLabels: { [RACK]: "a" } },
    rollout: { seconds },
    template: {
      cidrs: "podCIDRs",
      anycast: { allowedCIDRs: [ANYCAST.six, ANYCAST.four] },
      bgp: {
        asn: { fromLabel: ASN },
        peers: [
          { gateway: "ipv6", asn: peerAsn, holdTimeSeconds: 9 },
          { address: { fromAnnotation: TOR4 }, asn: peerAsn, holdTimeSeconds: 9 }
        ]
      },
      ...more
    }
  }
})

/** In the order in which nodes take a generation of the template, with the share of the roll-out's time before each. */
export const places = (cluster: Cluster, generation: number): ReadonlyArray<readonly [i: number, share: number]> =>
  numbers(cluster).map((i) => [i, place(`node${i}`, generation)] as const).toSorted(([, a], [, b]) => a - b)

export const label = (cluster: Cluster, i: number, key: string, value: string): Promise<string> =>
  cluster.kubectl("label", "--overwrite", "node", `node${i}`, `${key}=${value}`)

/** What a template needs to know of node i. */
const describeNode = async (cluster: Cluster, i: number): Promise<void> => {
  await label(cluster, i, RACK, "a")
  await label(cluster, i, ASN, String(NODE_ASN))
  await cluster.kubectl("annotate", "node", `node${i}`, `${TOR4}=${link(i).router[1]}`)
}

/** Three nodes, a router and flock from one template; the last value takes all of it down. */
export const bringUpFleet = async (): Promise<readonly [Cluster, World, () => Promise<void>]> => {
  const world = new World()
  const cluster = await Cluster.open(3, { KCM_FLAGS })
  const close = async () => {
    await world.close()
    await cluster.close()
  }
  try {
    await loadImages(cluster)
    await startRouter(cluster, world)
    for (const i of numbers(cluster)) await describeNode(cluster, i)
    await install(cluster, [template()])
  } catch (error) {
    console.error(await describe(cluster))
    await close()
    throw error
  }
  return [cluster, world, close]
}
