/** The image of Kubernetes' own tests, agnhost: its program, and the tools that the tests call in it. */
import { createHash } from "node:crypto"
import { createReadStream, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { run } from "../../lab/exec.ts"

/** What e2e.test of Kubernetes 1.36 names. Of the others it wants conntrack, a shell, dig on a glibc, something that waits. */
const NAMES = [
  "build-image/distroless-iptables:v0.9.6",
  "e2e-test-images/agnhost:2.63.0",
  "e2e-test-images/busybox:1.37.0-1",
  "e2e-test-images/glibc-dns-testing:2.0.0",
  "pause:3.10.2"
].map((name) => `registry.k8s.io/${name}`)

/** With an iperf of 2.2, whose output the tests know. */
const SUITE = "trixie"
const PACKAGES = "bind9-dnsutils ca-certificates conntrack curl iperf iproute2 iputils-ping netcat-openbsd wget".split(
  " "
)

/** Not needed, and a fifth of it. */
const WITHOUT = [
  "./var/lib/apt",
  "./var/lib/dpkg",
  "./var/cache",
  "./usr/share/perl",
  "./usr/lib/*/perl",
  "./etc/wgetrc"
]

const sha256 = (file: string): Promise<string> =>
  new Promise((done, fail) => {
    const hash = createHash("sha256")
    createReadStream(file).on("error", fail).on("data", (chunk) => hash.update(chunk)).on("end", () =>
      done(hash.digest("hex")))
  })

/** What is not of Debian, into `folder`; gives back the names there. */
const writeExtra = async (folder: string, bin: string): Promise<ReadonlyArray<string>> => {
  mkdirSync(join(folder, "etc"), { recursive: true })
  // Tests call CoreDNS in this image as a server of their own.
  for (const program of ["agnhost", "coredns"]) await run("cp", join(bin, program), join(folder, program))
  // The real image is an Alpine, whose wget tries once.
  writeFileSync(join(folder, "etc/wgetrc"), "tries = 1\n")
  // What `agnhost netexec` and `agnhost porter` serve by TLS.
  const subject = ["-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost"]
  const files = ["-keyout", join(folder, "localhost.key"), "-out", join(folder, "localhost.crt")]
  await run("openssl", "req", "-x509", ...subject, ...files)
  return ["agnhost", "coredns", "etc/wgetrc", "localhost.key", "localhost.crt"]
}

/** Writes `directory/agnhost.tar`, a docker-archive; `bin` has the programs agnhost and coredns. */
export const makeImage = async (directory: string, bin: string): Promise<string> => {
  const script = resolve(import.meta.dirname, "../../scripts/debian.sh")
  const root = join((await run("sh", script, SUITE, ...PACKAGES)).trim(), "root")
  const build = join(directory, "agnhost")
  rmSync(build, { recursive: true, force: true })
  const extra = join(build, "extra")
  const names = await writeExtra(extra, bin)
  const layer = join(build, "layer.tar")
  await run("tar", "-C", root, ...WITHOUT.map((path) => `--exclude=${path}`), "-cf", layer, ".")
  await run("tar", "-C", extra, "-rf", layer, ...names)
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
    JSON.stringify([{ Config: name, RepoTags: NAMES, Layers: ["layer.tar"] }])
  )
  const out = join(directory, "agnhost.tar")
  await run("tar", "-C", build, "-cf", out, name, "manifest.json", "layer.tar")
  rmSync(build, { recursive: true })
  return out
}
