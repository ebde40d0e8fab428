/** A container image out of Debian's busybox-static, as a docker-archive: what `docker save` writes, read by ctr and podman. */
import { createHash } from "node:crypto"
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../lab/exec.ts"

export const IMAGE = "localhost/flock-test:1"

const APPLETS = ["sh", "httpd", "wget", "ping", "ip", "mkfifo"]

/** Writes the archive into `directory` and gives its path. It serves `/www` on port 80 by HTTP, both families. */
export const buildImage = async (directory: string): Promise<string> => {
  const root = join(directory, "rootfs")
  for (const folder of ["bin", "www", "tmp", "etc", "proc", "sys", "dev"]) {
    mkdirSync(join(root, folder), { recursive: true })
  }
  cpSync("/bin/busybox", join(root, "bin/busybox"), { dereference: true })
  for (const applet of APPLETS) symlinkSync("busybox", join(root, "bin", applet))
  writeFileSync(join(root, "www/index.html"), "served by the pod\n")
  const layer = join(directory, "layer.tar")
  await run("tar", "-C", root, "--owner=0", "--group=0", "-cf", layer, ".")
  const digest = createHash("sha256").update(readFileSync(layer)).digest("hex")
  writeFileSync(
    join(directory, "config.json"),
    JSON.stringify({
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config: { Env: ["PATH=/bin"], Cmd: ["/bin/httpd", "-f", "-h", "/www"] },
      rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] }
    })
  )
  writeFileSync(
    join(directory, "manifest.json"),
    JSON.stringify([{ Config: "config.json", RepoTags: [IMAGE], Layers: ["layer.tar"] }])
  )
  const archive = join(directory, "image.tar")
  await run("tar", "-C", directory, "-cf", archive, "manifest.json", "config.json", "layer.tar")
  return archive
}
