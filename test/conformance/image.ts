/** The image of Kubernetes' own tests, registry.k8s.io/e2e-test-images/agnhost: its program, and the tools that the tests call in it. */
import { createHash } from "node:crypto"
import { createReadStream, mkdirSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { run } from "../../lab/exec.ts"

/** The version that e2e.test of Kubernetes 1.36 names. */
export const AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"

const PACKAGES = ["bind9-dnsutils", "ca-certificates", "curl", "iperf", "iproute2", "netcat-openbsd"]

const sha256 = (file: string): Promise<string> =>
  new Promise((done, fail) => {
    const hash = createHash("sha256")
    createReadStream(file).on("error", fail).on("data", (chunk) => hash.update(chunk)).on("end", () =>
      done(hash.digest("hex")))
  })

/** Writes `directory/agnhost.tar`, a docker-archive; `bin` has the program agnhost. */
export const makeImage = async (directory: string, bin: string): Promise<string> => {
  const script = resolve(import.meta.dirname, "../../scripts/debian.sh")
  const debian = (await run("sh", script, "bookworm", ...PACKAGES)).trim()
  const build = join(directory, "agnhost")
  const extra = join(build, "extra")
  mkdirSync(extra, { recursive: true })
  await run("cp", join(bin, "agnhost"), join(extra, "agnhost"))
  // What `agnhost netexec` and the tests of https serve.
  const key = ["-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost"]
  await run(
    "openssl",
    "req",
    "-x509",
    ...key,
    "-keyout",
    join(extra, "localhost.key"),
    "-out",
    join(extra, "localhost.crt")
  )
  const layer = join(build, "layer.tar")
  await run("tar", "-C", join(debian, "root"), "--exclude=./var/lib/apt", "--exclude=./var/cache", "-cf", layer, ".")
  await run("tar", "-C", extra, "-rf", layer, "agnhost", "localhost.key", "localhost.crt")
  const config = JSON.stringify({
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: {
      Env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin:/"],
      Entrypoint: ["/agnhost"],
      Cmd: ["pause"]
    },
    rootfs: { type: "layers", diff_ids: [`sha256:${await sha256(layer)}`] }
  })
  const name = `${createHash("sha256").update(config).digest("hex")}.json`
  writeFileSync(join(build, name), config)
  writeFileSync(
    join(build, "manifest.json"),
    JSON.stringify([{ Config: name, RepoTags: [AGNHOST], Layers: ["layer.tar"] }])
  )
  const out = join(directory, "agnhost.tar")
  await run("tar", "-C", build, "-cf", out, name, "manifest.json", "layer.tar")
  return out
}
