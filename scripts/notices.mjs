/**
 * THIRD-PARTY-NOTICES.txt: the licences of all that dist/ contains of others, as those demand of whoever passes it on. Which
 * packages are in the bundle is esbuild's own account of it; their texts are in node_modules, whose versions are the lock file's.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"

const LICENCE_FILE = /^(licen[cs]e|copying|notice)(\.|-|$)/i

/** Folders of the packages whose code is in the bundle, from esbuild's metafile; each once. */
export const packagesOf = (metafile, root) => {
  const used = Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path)
  )
  const folders = used.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [])
  return [...new Set(folders)].map((folder) => join(root, folder))
}

const rule = "=".repeat(80)
const section = (title, text) => `${rule}\n${title}\n${rule}\n\n${text.trim()}\n`

const textsIn = (folder) =>
  readdirSync(folder).filter((file) => LICENCE_FILE.test(file)).toSorted()
    .map((file) => readFileSync(join(folder, file), "utf8").trim())

/** For a package that says MIT and has no text of it (https://spdx.org/licenses/MIT.html). */
const mit = (holder) =>
  `Copyright (c) ${holder}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES
OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR
IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`

const packageSection = (folder) => {
  const { author, license, name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const texts = textsIn(folder)
  if (texts.length === 0 && license !== "MIT") {
    throw new Error(
      `${name} ${version} has no licence text (package.json says ${license}): find it before it is passed on`
    )
  }
  const holder = (typeof author === "object" ? author.name : author) ?? `the authors of ${name}`
  return section(`${name} ${version}, ${license}`, texts.length > 0 ? texts.join("\n\n") : mit(holder))
}

/** The C library that is linked into the plugin: cni/Makefile takes musl where it is installed. */
const libc = () => {
  const musl = (process.env.PATH ?? "").split(delimiter).some((folder) => existsSync(join(folder, "musl-gcc")))
  const candidates = musl
    ? ["/usr/share/doc/musl-dev/copyright", "/usr/share/doc/musl/copyright"]
    : ["/usr/share/doc/libc6-dev/copyright", "/usr/share/doc/libc6/copyright"]
  const found = candidates.find((path) => existsSync(path))
  const [title, otherwise] = musl
    ? ["musl libc (in cni/flock), MIT", "https://git.musl-libc.org/cgit/musl/tree/COPYRIGHT"]
    : [
      "the C library (in cni/flock): musl, MIT, or the GNU C Library, LGPL-2.1",
      "https://musl.libc.org, https://www.gnu.org/software/libc"
    ]
  return section(title, found === undefined ? otherwise : readFileSync(found, "utf8"))
}

/** koffi's native files are its own code, in packages without a licence file; Node is beside the bundle in the image. */
export const notices = (metafile, root, arch = process.arch) => {
  const bundled = packagesOf(metafile, root).toSorted()
  const node = join(root, `node_modules/node-linux-${arch}`)
  return [
    "What flock-agent contains of others, and their licences. flock itself: LICENSE.\n",
    ...bundled.map(packageSection),
    libc(),
    ...(existsSync(node) ? [packageSection(node)] : [])
  ].join("\n")
}
