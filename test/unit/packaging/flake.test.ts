import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parse, parseAllDocuments } from "yaml"

const root = resolve(import.meta.dirname, "../../..")
const read = (path: string) => readFileSync(join(root, path), "utf8")

interface LockEntry {
  readonly version: string
  readonly integrity?: string
  readonly optional?: boolean
  readonly os?: string | ReadonlyArray<string>
  readonly cpu?: string | ReadonlyArray<string>
  readonly libc?: string | ReadonlyArray<string>
}

interface Wants {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

interface Image {
  readonly name: string
  readonly tag: string
  readonly created: string
  readonly command: ReadonlyArray<string>
  readonly contents: ReadonlyArray<string>
}

type BySystem<A> = Readonly<Record<"x86_64-linux" | "aarch64-linux", A>>

/** flake.nix, evaluated with a stand-in for nixpkgs. */
const flake: {
  readonly images: BySystem<ReadonlyArray<Image>>
  readonly agent: BySystem<
    { readonly version: string; readonly buildPhase: string; readonly installPhase: string }
  >
  readonly modules: BySystem<string>
  readonly unit: BySystem<string>
  readonly shells: BySystem<number>
} = JSON.parse(
  execFileSync("nix-instantiate", [
    "--eval",
    "--strict",
    "--json",
    "--store",
    "dummy://",
    join(import.meta.dirname, "evaluate.nix")
  ], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
)
const systems = ["x86_64-linux", "aarch64-linux"] as const

const packageJson: { readonly version: string; readonly scripts: Readonly<Record<string, string>> } = JSON.parse(
  read("package.json")
)
const lock: Readonly<Record<string, LockEntry>> = JSON.parse(read("package-lock.json")).packages
const entries = Object.entries(lock)

/** `node_modules/x` → its hash, as the flake unpacks them. */
const unpacked = (system: typeof systems[number]) =>
  new Map(
    [...flake.modules[system].matchAll(/^tar -xzf \/store\/(sha512-\S+==)\/(\S+)\.tgz -C \$out\/(\S+) --strip/gm)]
      .map(([, hash = "", , path = ""]) => [path, hash])
  )

interface Container {
  readonly name: string
  readonly image: string
  readonly command: ReadonlyArray<string>
}

const daemonSet = parse(read("manifests/daemonset.yaml"))
const containers: ReadonlyArray<Container> = [
  ...daemonSet.spec.template.spec.initContainers,
  ...daemonSet.spec.template.spec.containers
]

describe("the lock files", () => {
  it.each(["", "tools/"])("%spackage-lock.json holds every package to a hash, and names no registry", (folder) => {
    const locked: Readonly<Record<string, LockEntry>> = JSON.parse(read(`${folder}package-lock.json`)).packages
    const unhashed = Object.entries(locked).filter(([path, { integrity = "" }]) =>
      path !== "" && !/^sha512-\S+==$/.test(integrity)
    )
    assert.deepStrictEqual(unhashed, [])
    for (const path of ["package-lock.json", "package.json", ".npmrc"]) {
      assert.notMatch(read(folder + path), /"resolved"|registry\.|^registry|artifact/im, folder + path)
    }
    for (const path of ["flake.nix", "Dockerfile"]) assert.notMatch(read(path), /registry\.|artifact/i, path)
  })

  it.each(["", "tools/"])(
    "%spackage-lock.json has every package that another one may want: npm ci insists",
    (folder) => {
      const locked: Readonly<Record<string, Wants>> = JSON.parse(read(`${folder}package-lock.json`)).packages
      // A package finds another in its own node_modules, or in that of a folder above.
      const found = (from: string, name: string): boolean =>
        `${from}/node_modules/${name}`.replace(/^\//, "") in locked ||
        (from !== "" && found(from.slice(0, Math.max(0, from.lastIndexOf("/node_modules/"))), name))
      const missing = Object.entries(locked).flatMap(([path, { dependencies, optionalDependencies }]) =>
        Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !found(path, name))
      )
      assert.deepStrictEqual(missing, [])
    }
  )

  it.each(["", "tools/"])("%spackage.json asks for exact versions", (folder) => {
    const { dependencies, devDependencies, optionalDependencies }: Wants = JSON.parse(read(`${folder}package.json`))
    const versions = Object.values({ ...dependencies, ...devDependencies, ...optionalDependencies })
    assert.isNotEmpty(versions)
    assert.deepStrictEqual(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version)), [])
  })

  it("says for whom a package is in words that the flake understands", () => {
    const words = entries.flatMap(([, { cpu = [], libc = [], os = [] }]) => [cpu, libc, os].flat())
    assert.deepStrictEqual(words.filter((word) => word.startsWith("!")), [])
  })
})

describe("flake.nix", () => {
  it("unpacks what npm installs here, but for Node, with the lock file's hashes", () => {
    const installed: Readonly<Record<string, LockEntry>> = JSON.parse(read("node_modules/.package-lock.json")).packages
    const all = unpacked(process.arch === "arm64" ? "aarch64-linux" : "x86_64-linux")
    for (const path of Object.keys(installed).filter((name) => !name.startsWith("node_modules/node-linux-"))) {
      assert.strictEqual(all.get(path), lock[path]?.integrity, path)
      all.delete(path)
    }
    // What is left are dependencies of other platforms' packages.
    assert.deepStrictEqual([...all.keys()].filter((path) => lock[path]?.optional !== true), [])
  })

  it("has for both architectures what the build and the tests run", () => {
    for (const system of systems) {
      const cpu = system === "x86_64-linux" ? "x64" : "arm64"
      const paths = [...unpacked(system).keys()]
      for (const name of ["@esbuild/linux-#", "@koromix/koffi-linux-#", "@rolldown/binding-linux-#-gnu"]) {
        assert.include(paths, `node_modules/${name.replace("#", cpu)}`, system)
      }
      assert.deepStrictEqual(paths.filter((path) => /musl|darwin|win32|node-linux/.test(path)), [], system)
    }
  })

  it("carries the package's version everywhere", () => {
    for (const system of systems) {
      assert.strictEqual(flake.agent[system].version, packageJson.version)
      assert.deepStrictEqual(flake.images[system].map(({ tag }) => tag), [packageJson.version, packageJson.version])
    }
    for (const { newTag } of parse(read("manifests/kustomization.yaml")).images) {
      assert.strictEqual(newTag, packageJson.version)
    }
  })

  it("builds by the repository's own script, into the layout of dist/", () => {
    const { buildPhase, installPhase } = flake.agent["x86_64-linux"]
    assert.include(packageJson.scripts["build"], "scripts/build.mjs")
    assert.include(buildPhase, "node scripts/build.mjs --entry src/main.ts --out $out/lib/flock")
    assert.include(installPhase, "$out/lib/flock/cni/flock")
    assert.include(installPhase, "$out/bin/flock-agent --add-flags $out/lib/flock/flock-agent.mjs")
    for (const path of ["scripts/build.mjs", "src/main.ts", "cni/Makefile"]) assert.isTrue(existsSync(join(root, path)))
    assert.include(read("scripts/build.mjs"), "\"flock-agent.mjs\"")
    assert.include(flake.unit["x86_64-linux"], "--project unit")
  })

  it("makes the images that the manifests name, with the commands that they start", () => {
    const commands: Readonly<Record<string, ReadonlyArray<string>>> = {
      "flock-agent": ["flock-agent"],
      bird2: ["bird", "birdc"],
      busybox: ["sh"]
    }
    const images = flake.images["x86_64-linux"]
    assert.deepStrictEqual(flake.images["aarch64-linux"], images)
    assert.deepStrictEqual(
      [...new Set(containers.map(({ image }) => image))].toSorted(),
      images.map(({ name }) => name).toSorted()
    )
    assert.deepStrictEqual(
      parse(read("manifests/kustomization.yaml")).images.map(({ name }: Image) => name).toSorted(),
      images.map(({ name }) => name).toSorted()
    )
    for (const { command, image, name } of containers) {
      const found = images.find((candidate) => candidate.name === image)
      assert.include((found?.contents ?? []).flatMap((content) => commands[content] ?? []), command[0] ?? "", name)
    }
    for (const image of images) {
      assert.strictEqual(image.created, "1970-01-01T00:00:01Z")
      assert.include(image.contents.flatMap((content) => commands[content] ?? []), image.command[0] ?? "", image.name)
    }
  })

  it("has a shell for both architectures", () => {
    assert.deepStrictEqual(Object.keys(flake.shells).toSorted(), systems.toSorted())
  })
})

describe("Dockerfile", () => {
  const lines = read("Dockerfile").split("\n")

  it("has a target for each image, from nothing but what Debian and npm gave", () => {
    const stages = lines.flatMap((line) =>
      /^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$/.exec(line)?.slice(1, 3).join(" ") ?? []
    )
    assert.deepStrictEqual(stages, [
      "${BASE} npm",
      "npm build",
      "${BASE} debian",
      "build described",
      "scratch agent",
      "scratch bird"
    ])
    assert.include(lines, "ARG BASE=docker.io/library/debian:trixie-slim")
    const [agent = "", bird = ""] = read("Dockerfile").split("\nFROM scratch AS ").slice(1)
    for (const image of [agent, bird]) assert.notMatch(image, /^RUN /m)
  })

  it("labels both with the package's version", () => {
    const { version } = JSON.parse(read("package.json"))
    const labels = lines.filter((line) => line.includes("image.version="))
    assert.lengthOf(labels, 2)
    for (const label of labels) assert.include(label, `"${version}"`)
  })

  const locked = read("scripts/images/debian.lock").split("\n").filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(" "))

  it.each(["agent", "bird", "build"])(
    "has Debian's packages for %s by hash, the same ones for both architectures",
    (image) => {
      const [x64, arm64] = ["amd64", "arm64"].map((arch) => locked.filter(([of, on]) => of === image && on === arch))
      assert.isNotEmpty(x64)
      assert.deepStrictEqual(x64?.map(([, , name]) => name), arm64?.map(([, , name]) => name))
      for (const [, , name, version, hash] of [...x64 ?? [], ...arm64 ?? []]) {
        assert.match(`${version} ${hash}`, /^\d\S* [0-9a-f]{64}$/, name)
      }
    }
  )

  it("copies only what is there, and what its ignore file lets through", () => {
    const ignored = read(".dockerignore").split("\n")
    const sources = lines.filter((line) => line.startsWith("COPY ") && !line.includes("--from"))
      .flatMap((line) => line.split(" ").slice(1, -1))
    assert.isNotEmpty(sources)
    for (const source of sources) {
      assert.isTrue(existsSync(join(root, source)), source)
      assert.include(ignored, `!${source.split("/")[0]}`)
    }
  })

  it("has the command that the manifests start", () => {
    assert.include(read("scripts/images/agent.sh"), "/usr/local/bin/flock-agent")
    assert.deepStrictEqual(parseAllDocuments(read("manifests/daemonset.yaml")).length, 1)
  })
})
