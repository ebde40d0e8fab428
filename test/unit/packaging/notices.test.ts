/** THIRD-PARTY-NOTICES.txt, held to what the bundle was made of: its source map, and the versions of the lock file. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { afterAll, beforeAll } from "vitest"

const root = resolve(import.meta.dirname, "../../..")
const out = mkdtempSync(join(tmpdir(), `flock-notices-${process.pid}-`))

interface Section {
  readonly title: string
  readonly text: string
}

const sections = (): ReadonlyArray<Section> => {
  const [, ...parts] = readFileSync(join(out, "THIRD-PARTY-NOTICES.txt"), "utf8").split(/^={80}\n/m)
  return parts.flatMap((part, i) => i % 2 === 0 ? [{ title: part.trim(), text: (parts[i + 1] ?? "").trim() }] : [])
}

/** `node_modules/NAME`, nested ones by their whole path, as the lock file has them. */
const bundled = (): ReadonlySet<string> => {
  const { sources } = JSON.parse(readFileSync(join(out, "flock-agent.mjs.map"), "utf8")) as {
    readonly sources: ReadonlyArray<string>
  }
  return new Set(
    sources.flatMap((path) => /node_modules\/.*(?<=node_modules\/)(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [])
  )
}

describe("the notices of others' licences", () => {
  beforeAll(() => {
    const build = ["scripts/build.mjs", "--entry", "src/main.ts", "--out", out]
    execFileSync(process.execPath, build, { cwd: root, stdio: "pipe" })
  }, 60_000)
  afterAll(() => rmSync(out, { recursive: true, force: true }))

  it("have every package of the bundle at the lock file's version, and no other", () => {
    const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
      readonly packages: Readonly<Record<string, { readonly version: string }>>
    }
    const wanted = [...bundled()].map((path) => {
      const { version } = packages[path] ?? assert.fail(`${path} is not in the lock file`)
      return `${path.replace(/^.*node_modules\//, "")} ${version}`
    })
    assert.include(wanted.join(), "effect ")
    assert.include(wanted.join(), "koffi ")
    const named = sections().map(({ title }) => title.replace(/,.*$/s, ""))
    const beside = named.filter((name) => /^node-linux-|\(in cni\/flock\)|C library/.test(name))
    assert.isAtLeast(beside.length, 1)
    assert.sameMembers(named.filter((name) => !beside.includes(name)), wanted)
  })

  it("have a licence's text for each", () => {
    for (const { text, title } of sections()) {
      assert.match(title, /, [A-Za-z0-9.-]+/)
      assert.match(text, /permission|licensed|redistribut/i, title)
      assert.match(text, /copyright/i, title)
    }
  })

  it("come with flock's own licence", () => {
    assert.match(readFileSync(join(out, "LICENSE"), "utf8"), /Apache License\s+Version 2\.0/)
  })
})
