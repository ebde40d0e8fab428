/** flock of one commit on a {@link Cluster}: its manifests, its images under a tag of their own, and what `kubectl apply -k` takes. */
import { createHash } from "node:crypto"
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import type { Cluster } from "./Cluster.ts"
import { run } from "./exec.ts"

const TREE = resolve(import.meta.dirname, "..")

export interface Release {
  /** Of its images, and of what it is called. */
  readonly tag: string
  /** Its sources. */
  readonly tree: string
  /** docker-archives of `localhost/flock-agent:TAG` and `localhost/flock-bird:TAG`. */
  readonly archives: ReadonlyArray<string>
}

/** The full hash of a commit; undefined: this clone does not have it. */
export const commitOf = (name: string): Promise<string | undefined> =>
  run("git", "-C", TREE, "rev-parse", "--verify", "--quiet", `${name}^{commit}`).then(
    (text) => text.trim(),
    () => undefined
  )

/** Whether that commit's sources can be built with this tree's packages. */
export const hasSamePackages = (commit: string): Promise<boolean> =>
  run("git", "-C", TREE, "diff", "--quiet", commit, "--", "package-lock.json").then(() => true, () => false)

const sha256 = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex")

/** A docker-archive under another tag, with a layer over it if `over` is given: what is in that folder, from the root on. */
const retag = async (archive: string, reference: string, out: string, over?: string): Promise<void> => {
  const folder = `${out}.open`
  mkdirSync(folder, { recursive: true })
  await run("tar", "-C", folder, "-xf", archive)
  const [image] = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"))
  image.RepoTags = [reference]
  if (over !== undefined) {
    const layer = join(folder, "over.tar")
    await run("tar", "-C", over, "--owner=0", "--group=0", "-cf", layer, ".")
    const config = JSON.parse(readFileSync(join(folder, image.Config), "utf8"))
    config.rootfs.diff_ids.push(`sha256:${sha256(layer)}`)
    config.history?.push({ created: "1970-01-01T00:00:00Z", created_by: "lab/release.ts" })
    image.Config = "config.json"
    image.Layers.push("over.tar")
    writeFileSync(join(folder, image.Config), JSON.stringify(config))
  }
  writeFileSync(join(folder, "manifest.json"), JSON.stringify([image]))
  rmSync(join(folder, "repositories"), { force: true })
  await run("tar", "-C", folder, "-cf", out, ".")
  rmSync(folder, { recursive: true })
}

/** `npm run images` of a tree; where its images are. */
const build = async (tree: string, out: string): Promise<string> => {
  await run("sh", join(tree, "scripts/images/build.sh"), "--drift", out)
  return out
}

/** This tree's own images, as they are. */
export const thisRelease = async (folder: string): Promise<Release> => {
  const { version } = JSON.parse(readFileSync(join(TREE, "package.json"), "utf8"))
  const images = await build(TREE, join(folder, "images"))
  return { tag: version, tree: TREE, archives: [join(images, "flock-agent.tar"), join(images, "flock-bird.tar")] }
}

/**
 * Another commit's, in `folder`. Its images by its own `scripts/images/build.sh`; or, with `dist` and for commits from before
 * there was one, its agent and plugin alone in this tree's images, which takes seconds.
 */
export const releaseOf = async (
  commit: string,
  tag: string,
  folder: string,
  own: Release,
  options: { readonly dist?: boolean } = {}
): Promise<Release> => {
  const tree = join(folder, "tree")
  await run("git", "clone", "--quiet", "--shared", "--no-checkout", TREE, tree)
  await run("git", "-C", tree, "checkout", "--quiet", commit)
  const images = join(folder, "images")
  const over = join(folder, "over")
  const whole = options.dist !== true && existsSync(join(tree, "scripts/images/build.sh"))
  if (whole) {
    await build(tree, images)
  } else {
    mkdirSync(join(over, "usr/lib"), { recursive: true })
    symlinkSync(join(TREE, "node_modules"), join(tree, "node_modules"))
    await run(process.execPath, join(tree, "scripts/build.mjs"))
    cpSync(join(tree, "dist"), join(over, "usr/lib/flock"), { recursive: true })
    rmSync(join(over, "usr/lib/flock/flock-agent.mjs.map"), { force: true })
    // as scripts/images/agent.sh does: there is no env(1) in the image
    const agent = join(over, "usr/lib/flock/flock-agent.mjs")
    writeFileSync(agent, readFileSync(agent, "utf8").replace(/^#!.*/, "#!/usr/local/bin/node"), { mode: 0o755 })
  }
  const archives = await Promise.all(["agent", "bird"].map(async (name, i) => {
    const from = whole ? join(images, `flock-${name}.tar`) : own.archives[i] ?? ""
    const out = join(folder, `flock-${name}-${tag}.tar`)
    await retag(from, `localhost/flock-${name}:${tag}`, out, whole || name === "bird" ? undefined : over)
    return out
  }))
  return { tag, tree, archives }
}

/** Its images onto every node, and the folder for `kubectl apply -k`, as the README has people make it. */
export const prepare = async (cluster: Cluster, { archives, tag, tree }: Release): Promise<string> => {
  await cluster.command("load", ...archives)
  const folder = join(cluster.place.directory, `release-${tag}`)
  mkdirSync(join(folder, "site"), { recursive: true })
  symlinkSync(tree, join(folder, "flock"))
  const images = ["agent", "bird"].map((name) => ({
    name: `flock-${name}`,
    newName: `localhost/flock-${name}`,
    newTag: tag
  }))
  writeFileSync(
    join(folder, "site/kustomization.yaml"),
    JSON.stringify({
      apiVersion: "kustomize.config.k8s.io/v1beta1",
      kind: "Kustomization",
      resources: ["../flock/manifests"],
      images
    })
  )
  return join(folder, "site")
}
