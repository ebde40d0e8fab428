/** podman with its CNI back end, on the node's own storage. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { buildImage } from "./image.ts"
import type { RuntimeNode } from "./RuntimeNode.ts"

/** podman 4 takes netavark unless told otherwise; it looks for plugins where distributions put them. */
const CONTAINERS = `
[network]
network_backend = "cni"
network_config_dir = "/etc/cni/net.d"
cni_plugin_dirs = ["/opt/cni/bin"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`

const STORAGE = `
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`

/** Writes podman's configuration and loads the test image. */
export const preparePodman = async (node: RuntimeNode): Promise<void> => {
  const etc = join(node.directory, "etc/containers")
  writeFileSync(join(etc, "containers.conf"), CONTAINERS)
  writeFileSync(join(etc, "storage.conf"), STORAGE)
  writeFileSync(join(etc, "policy.json"), JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }))
  const directory = join(node.directory, "podman")
  mkdirSync(directory)
  await node.within("podman", "load", "--quiet", "--input", await buildImage(directory))
}
