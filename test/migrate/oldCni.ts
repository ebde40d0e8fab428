/** Another CNI as a cluster has it before flock: Debian's ptp with host-local, and static routes to each node's range in the router. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Cluster } from "../../lab/Cluster.ts"
import { ip } from "../../lab/exec.ts"
import { link } from "../../lab/site.ts"

/** Sorts after flock's, as Calico's does. */
export const CONFLIST = "10-old.conflist"

export const ranges = (i: number) => ({ cidr6: `2001:db8:200:${i}::/64`, cidr4: `10.43.${i}.0/24` })

const ipamFolder = (cluster: Cluster, i: number): string => join(cluster.place.directory, `node${i}/host-local`)

/** Addresses that its IPAM holds on node i, those of pods that have gone without its DEL among them. */
export const held = (cluster: Cluster, i: number): ReadonlyArray<string> =>
  readdirSync(join(ipamFolder(cluster, i), "old")).filter((name) => /^[0-9a-f.:]+$/.test(name))

export const installOldCni = async (cluster: Cluster, i: number): Promise<void> => {
  const { cidr4, cidr6 } = ranges(i)
  mkdirSync(join(ipamFolder(cluster, i), "old"), { recursive: true })
  const ipam = {
    type: "host-local",
    dataDir: ipamFolder(cluster, i),
    ranges: [[{ subnet: cidr4 }], [{ subnet: cidr6 }]],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }]
  }
  const plugins = [{ type: "ptp", ipMasq: false, ipam }, { type: "portmap", capabilities: { portMappings: true } }]
  writeFileSync(
    join(cluster.place.directory, `node${i}/net.d/${CONFLIST}`),
    JSON.stringify({ cniVersion: "1.0.0", name: "old", plugins })
  )
  const tor = cluster.netns("tor")
  const [six, four] = link(i).node
  await ip(tor, "-6", "route", "add", cidr6, "via", six)
  await ip(tor, "route", "add", cidr4, "via", four)
}
