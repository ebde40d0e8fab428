/** A containerd of the node's own. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { until } from "../../lab/until.ts"
import { buildImage, IMAGE } from "./image.ts"
import type { RuntimeNode } from "./RuntimeNode.ts"

/** The CRI plugin's socket too, as seen from outside the node: it is bound there, not moved. */
export const criSocket = (node: RuntimeNode): string => join(node.directory, "containerd/containerd.sock")

/** Its native snapshots need no overlayfs; the rest is for machines without CAP_SYS_RESOURCE and AppArmor's tools. */
const config = (directory: string): string => `
version = 2
root = "${directory}/containerd/root"
state = "${directory}/containerd/state"
[grpc]
address = "${directory}/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
disable_apparmor = true
sandbox_image = "${IMAGE}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
`

/** Starts containerd, a first or a further time, and waits until it answers. */
export const launchContainerd = async (node: RuntimeNode): Promise<void> => {
  const directory = join(node.directory, "containerd")
  const log = join(directory, "containerd.log")
  const keep = `echo $$ >"${directory}/pid" && exec containerd --config "${directory}/config.toml"`
  const containerd = node.spawnWithin(log, "sh", "-c", keep)
  await until("containerd answers", async () => {
    if (containerd.exitCode !== null) throw new Error(readFileSync(log, "utf8"))
    await node.within("ctr", "--address", criSocket(node), "version")
    return true
  })
}

/** `kill -9`; shims and containers go on. */
export const killContainerd = (node: RuntimeNode): Promise<string> =>
  node.within("kill", "-s", "KILL", readFileSync(join(node.directory, "containerd/pid"), "utf8").trim())

/** Starts containerd and imports the test image into `namespace`. */
export const startContainerd = async (node: RuntimeNode, namespace: string): Promise<void> => {
  const directory = join(node.directory, "containerd")
  mkdirSync(directory)
  writeFileSync(join(directory, "config.toml"), config(node.directory))
  const [archive] = await Promise.all([buildImage(directory), launchContainerd(node)])
  const flags = ["--address", criSocket(node), "--namespace", namespace]
  await node.within("ctr", ...flags, "image", "import", "--snapshotter", "native", archive)
}
