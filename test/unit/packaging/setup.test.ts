/** scripts/setup.sh in a folder of its own, with an `npm` that only pretends. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { onTestFinished } from "vitest"

const ROOT = resolve(import.meta.dirname, "../../..")
const LOCK = {
  packages: {
    "": {},
    "node_modules/a": { version: "1.0.0" },
    "node_modules/t": { version: "1.0.0", dev: true },
    "node_modules/p": { version: "1.0.0", peer: true },
    "node_modules/native": { version: "1.0.0", optional: true, os: ["linux"], cpu: [process.arch] },
    "node_modules/elsewhere": { version: "1.0.0", optional: true, os: ["darwin"] }
  }
}
/** As `npm ci` would leave it. */
const installed = (names: ReadonlyArray<string>, version = "1.0.0") =>
  JSON.stringify({ packages: Object.fromEntries(names.map((name) => [`node_modules/${name}`, { version }])) })

const COREUTILS = ["sh", "cat", "cp", "cut", "dirname", "env", "flock", "grep", "id", "ln", "mktemp", "mv", "rm"]
const MORE = ["sha256sum", "sleep", "uname", "mkdir", "touch"]

interface Ended {
  readonly code: number
  readonly stderr: string
}

/** `npm` runs in the folder that is to get `node_modules`; what it was asked is in `calls`. */
const makePlace = (npm: string) => {
  const place = mkdtempSync(join(tmpdir(), `flock-setup-${process.pid}-`))
  onTestFinished(() => rmSync(place, { recursive: true }))
  mkdirSync(join(place, "bin"))
  mkdirSync(join(place, "tools"))
  cpSync(join(ROOT, "scripts/setup.sh"), join(place, "scripts/setup.sh"))
  for (const folder of [place, join(place, "tools")]) {
    writeFileSync(join(folder, "package.json"), "{}")
    writeFileSync(join(folder, "package-lock.json"), JSON.stringify(LOCK))
    writeFileSync(join(folder, ".npmrc"), "")
  }
  for (const name of [...COREUTILS, ...MORE]) {
    const path = ["/usr/bin", "/bin"].map((folder) => join(folder, name)).find(existsSync) ?? ""
    symlinkSync(path, join(place, "bin", name))
  }
  symlinkSync(process.execPath, join(place, "bin/node"))
  const answer = (script: string) => {
    writeFileSync(join(place, "bin/npm"), `#!/bin/sh\necho "$*" >>${place}/calls\n${script}\n`)
    chmodSync(join(place, "bin/npm"), 0o755)
  }
  answer(npm)
  return {
    place,
    answer,
    calls: () => existsSync(join(place, "calls")) ? readFileSync(join(place, "calls"), "utf8").trim().split("\n") : [],
    leftovers: () => readdirSync(place).filter((name) => name.startsWith(".setup")),
    setup: (...groups: ReadonlyArray<string>) =>
      new Promise<Ended>((done) => {
        execFile(join(place, "bin/sh"), [join(place, "scripts/setup.sh"), ...groups], {
          env: { PATH: join(place, "bin") }
        }, (error, stdout, stderr) => done({ code: error === null ? 0 : Number(error.code), stderr: stdout + stderr }))
      })
  }
}

const leave = (report: string) =>
  `mkdir -p node_modules/.bin && touch node_modules/new && echo '${report}' >node_modules/.package-lock.json`

// `format` wants npm packages only, so Debian's do not matter; it installs into tools/.
describe("setup.sh", () => {
  it("installs by npm ci without scripts and peers, and says nothing the second time", async () => {
    const { calls, leftovers, place, setup } = makePlace(leave(installed(["a", "t", "native"])))
    assert.deepStrictEqual(await setup("format"), { code: 0, stderr: "setup: installing npm packages (tools)\n" })
    assert.deepStrictEqual(await setup("format"), { code: 0, stderr: "" })
    assert.lengthOf(calls(), 1)
    assert.match(calls()[0] ?? "", /^ci --omit=peer --ignore-scripts /)
    assert.isTrue(existsSync(join(place, "tools/node_modules/new")))
    assert.deepStrictEqual(leftovers(), [])
  })

  it("installs again for another lock file", async () => {
    const { calls, place, setup } = makePlace(leave(installed(["a", "t", "native"])))
    await setup("format")
    writeFileSync(join(place, "tools/package-lock.json"), JSON.stringify({ ...LOCK, name: "other" }))
    await setup("format")
    assert.lengthOf(calls(), 2)
  })

  it("leaves what was there when npm fails, and tries again", async () => {
    const { answer, place, setup } = makePlace("echo 'no network' >&2; exit 1")
    mkdirSync(join(place, "tools/node_modules/old"), { recursive: true })
    const { code, stderr } = await setup("format")
    assert.strictEqual(code, 1)
    assert.include(stderr, "no network")
    assert.include(stderr, "setup: npm ci failed")
    assert.deepStrictEqual(readdirSync(join(place, "tools/node_modules")), ["old"])
    assert.deepStrictEqual(readdirSync(join(place, "tools")).filter((name) => name.startsWith(".setup")), [])
    answer(leave(installed(["a", "t", "native"])))
    assert.strictEqual((await setup("format")).code, 0)
    assert.isFalse(existsSync(join(place, "tools/node_modules/old")))
  })

  it.each([
    ["a package of this platform", installed(["a", "t"]), "node_modules/native 1.0.0: found undefined"],
    ["a package that is not optional", installed(["t", "native"]), "node_modules/a 1.0.0: found undefined"],
    ["another version", installed(["a", "t", "native"], "0.9.0"), "node_modules/a 1.0.0: found 0.9.0"]
  ])("does not take what npm left: %s", async (_, report, problem) => {
    const { place, setup } = makePlace(leave(report))
    const { code, stderr } = await setup("format")
    assert.strictEqual(code, 1)
    assert.include(stderr, `setup: ${problem}`)
    assert.isFalse(existsSync(join(place, "tools/node_modules")))
  })

  it("does it once when two run at once", async () => {
    const { calls, setup } = makePlace(`sleep 0.5\n${leave(installed(["a", "t", "native"]))}`)
    const ended = await Promise.all([setup("format"), setup("format")])
    assert.deepStrictEqual(ended.map(({ code }) => code), [0, 0])
    assert.lengthOf(calls(), 1)
  })

  it("replaces a link to another checkout's packages, and leaves those alone", async () => {
    const { place, setup } = makePlace(leave(installed(["a", "t", "native"])))
    mkdirSync(join(place, "theirs/kept"), { recursive: true })
    symlinkSync(join(place, "theirs"), join(place, "tools/node_modules"))
    assert.strictEqual((await setup("format")).code, 0)
    assert.isTrue(existsSync(join(place, "theirs/kept")))
    assert.isFalse(existsSync(join(place, "theirs/new")))
    assert.isTrue(existsSync(join(place, "tools/node_modules/new")))
  })

  it("builds without the tests' packages; what the tests have does for a build", async () => {
    const { calls, setup } = makePlace(leave(installed(["a", "native"])))
    await setup("build")
    assert.match(calls()[0] ?? "", /^ci --omit=peer --omit=dev /)
    const tests = makePlace(leave(installed(["a", "t", "native"])))
    await tests.setup("test")
    await tests.setup("build")
    assert.lengthOf(tests.calls(), 1)
    assert.notInclude(tests.calls()[0] ?? "", "dev")
  })

  it("says what is missing where there is no apt", async () => {
    const { setup } = makePlace(leave(installed(["a", "native"])))
    const { code, stderr } = await setup("build")
    assert.strictEqual(code, 1)
    assert.match(stderr, /^setup: missing, by Debian's package names: make gcc .*$/m)
    assert.match(stderr, /^setup: {3}gcc: cc$/m)
    assert.match(stderr, /^setup: this is not Debian: install what provides them$/m)
    assert.notInclude(stderr, "podman")
  })

  it("knows its groups", async () => {
    const { setup } = makePlace("exit 1")
    for (const groups of [[], ["everything"]]) assert.strictEqual((await setup(...groups)).code, 1)
    const { scripts }: { readonly scripts: Readonly<Record<string, string>> } = JSON.parse(
      readFileSync(join(ROOT, "package.json"), "utf8")
    )
    const [, known = ""] = /usage: setup\.sh (\S+)/.exec((await setup()).stderr) ?? []
    const used = Object.values(scripts).flatMap((script) =>
      /setup\.sh ([a-z ]+)/.exec(script)?.[1]?.trim().split(" ") ?? []
    )
    assert.isAtLeast(used.length, 8)
    assert.includeMembers(known.split("|"), used)
  })
})
