/**
 * `npm run build`: src/main.ts → dist/flock-agent.mjs with koffi's native files and the licences beside it, cni/ →
 * dist/cni/flock; src/kubectl/main.ts → dist/kubectl-flock.
 * Does nothing when no input changed. `--entry FILE` and `--out DIR` build something else (tests do); `--arch x64|arm64` builds
 * for that one, with the C compiler in CC; `--packages FILE` writes which packages the bundle has, for the SBOM.
 */
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync
} from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs, promisify } from "node:util"
import { notices, packagesOf } from "./notices.mjs"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..")
const option = { type: "string" }
const { values } = parseArgs({ options: { entry: option, out: option, arch: option, packages: option } })
const entry = resolve(values.entry ?? join(root, "src/main.ts"))
const out = resolve(values.out ?? join(root, "dist"))
const bundle = join(out, "flock-agent.mjs")
const licence = { from: join(root, "LICENSE"), to: join(out, "LICENSE") }
const thirdParty = join(out, "THIRD-PARTY-NOTICES.txt")
const MINIMUM_NODE = [22, 19]

const arch = values.arch ?? process.arch
const natives = [
  { from: `node_modules/@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`, to: "koffi.node" },
  { from: `node_modules/@koromix/koffi-linux-${arch}/musl_${arch}/koffi.node`, to: "koffi-musl.node" }
].map(({ from, to }) => ({ from: join(root, from), to: join(out, to) }))

/** A reader never sees half a file, and a running one keeps what it has open. */
const put = (path, content, mode) => {
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}`
  if (typeof content === "string") copyFileSync(content, temporary)
  else writeFileSync(temporary, content)
  chmodSync(temporary, mode)
  renameSync(temporary, path)
}

/** One line per input: changed content shows as another size or time, a changed option as another line. */
const fingerprint = (inputs) =>
  createHash("sha256").update(
    [fileURLToPath(import.meta.url), join(root, "scripts/notices.mjs"), ...inputs].map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false })
      return `${path} ${stat?.size} ${stat?.mtimeMs}`
    }).join("\n") + process.version
  ).digest("hex")

const stampOf = (entry) =>
  join(
    root,
    "node_modules/.cache/flock-build",
    createHash("sha256").update(`${entry}\n${out}`).digest("hex").slice(0, 16)
  )

const upToDate = (stampPath, results) => {
  if (!existsSync(stampPath) || !results.every((path) => existsSync(path))) return false
  const { inputs, hash } = JSON.parse(readFileSync(stampPath, "utf8"))
  return fingerprint(inputs) === hash
}

const stamp = (stampPath, inputs) =>
  put(stampPath, Buffer.from(JSON.stringify({ inputs, hash: fingerprint(inputs) })), 0o644)

/** koffi looks for its native file in node_modules; the bundle has it beside itself, for glibc and for musl. */
const koffiBesideBundle = {
  name: "koffi-beside-bundle",
  setup: (build) =>
    build.onLoad({ filter: /[/\\]koffi[/\\]src[/\\]koffi[/\\]src[/\\]static\.c?js$/ }, ({ path }) => {
      const load = `const loadStatic = () => {
        try { return require("./koffi.node") } catch (glibc) {
          try { return require("./koffi-musl.node") } catch { throw glibc }
        }
      }`
      return {
        contents: path.endsWith(".cjs")
          ? `const require = globalThis.__flockRequire\n${load}\nmodule.exports = { loadStatic }`
          : `import { createRequire } from "node:module"\nconst require = createRequire(import.meta.url)\n${load}
             export { loadStatic }`,
        loader: "js"
      }
    })
}

/**
 * client-node reads credentials here, and sends nothing: requests go through HttpClient (src/kube/access.ts). Its HTTP
 * client and its generated API classes are left out of the bundle: a third of the code, and 18 MB of an agent's memory.
 */
const leanClientNode = {
  name: "lean-client-node",
  setup: (build) => {
    const absent = `constructor() { throw new Error("this part of client-node is not in flock's bundle") }`
    build.onResolve(
      { filter: /^undici$|gen[/\\]index\.js$/ },
      ({ importer, path }) =>
        /client-node[/\\]dist[/\\]config\.js$/.test(importer) ? { path, namespace: "left-out" } : undefined
    )
    build.onLoad({ filter: /.*/, namespace: "left-out" }, ({ path }) => ({
      contents: path === "undici"
        ? `class Absent { ${absent} }\nexport { Absent as Agent, Absent as ProxyAgent }`
        : `class Absent { ${absent} }\nexport { Absent as ServerConfiguration, Absent as createConfiguration }`,
      loader: "js"
    }))
  }
}

/** CommonJS packages inside an ES module need a `require`; an old Node gets a sentence, not a stack. */
const banner = `#!/usr/bin/env node
import { createRequire as __flockCreateRequire } from "node:module"
const require = globalThis.__flockRequire = __flockCreateRequire(import.meta.url)
{ const [major, minor] = process.versions.node.split(".").map(Number)
  if (major < ${MINIMUM_NODE[0]} || (major === ${MINIMUM_NODE[0]} && minor < ${MINIMUM_NODE[1]})) {
    console.error("flock-agent: needs Node ${MINIMUM_NODE.join(".")} or newer, this is " + process.version)
    process.exit(1)
  } }`

const buildAgent = async () => {
  const results = [bundle, licence.to, thirdParty, ...natives.map(({ to }) => to)]
  if (values.packages === undefined && upToDate(stampOf(entry), results)) return
  const { build } = await import("esbuild")
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    outfile: bundle,
    bundle: true,
    write: false,
    metafile: true,
    platform: "node",
    format: "esm",
    target: "node24",
    // Names stay: stacks in logs must be readable without the map.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    sourcemap: "external",
    sourcesContent: false,
    banner: { js: banner },
    logLevel: "warning",
    plugins: [koffiBesideBundle, leanClientNode]
  })
  for (const file of result.outputFiles) {
    put(file.path, file.contents, file.path === bundle ? 0o755 : 0o644)
  }
  for (const { from, to } of [...natives, licence]) put(to, from, 0o644)
  put(thirdParty, Buffer.from(notices(result.metafile, root, arch)), 0o644)
  if (values.packages !== undefined) {
    const described = [...packagesOf(result.metafile, root), join(root, `node_modules/node-linux-${arch}`)]
      .map((folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8")))
      .map(({ license, name, version }) => ({ name, version, license }))
    put(resolve(values.packages), Buffer.from(`${JSON.stringify(described)}\n`), 0o644)
  }
  const real = Object.keys(result.metafile.inputs).filter((path) => !path.startsWith("left-out:"))
  const inputs = [...real.map((path) => join(root, path)), ...natives.map((n) => n.from)]
  stamp(stampOf(entry), inputs)
}

/** One file, for an operator's PATH: kubectl finds its plugins by their name. */
const buildKubectl = async () => {
  const [from, to] = [join(root, "src/kubectl/main.ts"), join(out, "kubectl-flock")]
  if (upToDate(stampOf(from), [to])) return
  const { build } = await import("esbuild")
  const { metafile, outputFiles } = await build({
    entryPoints: [from],
    absWorkingDir: root,
    outfile: to,
    bundle: true,
    write: false,
    metafile: true,
    platform: "node",
    format: "esm",
    target: "node22",
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "inline",
    banner: { js: banner.replace("flock-agent:", "kubectl-flock:") },
    logLevel: "warning"
  })
  for (const { contents } of outputFiles) put(to, contents, 0o755)
  stamp(stampOf(from), Object.keys(metafile.inputs).map((path) => join(root, path)))
}

const buildPlugin = async () => {
  try {
    await promisify(execFile)("make", ["--silent", "-C", join(root, "cni")])
  } catch (error) {
    throw new Error(`the CNI plugin did not build:\n${error.stderr || error.message}`, { cause: error })
  }
}

const results = await Promise.allSettled([
  buildAgent(),
  ...(values.entry ? [] : [buildPlugin(), buildKubectl()])
])
for (const { reason } of results.filter(({ status }) => status === "rejected")) {
  console.error(`build: ${reason.message}`)
  process.exitCode = 1
}
