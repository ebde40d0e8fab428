/** scripts/debian.sh with an `mmdebstrap` that only pretends. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { onTestFinished } from "vitest"

const SCRIPT = resolve(import.meta.dirname, "../../../scripts/debian.sh")

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A system with copies of this machine's `printenv` and `cat`, their libraries, and a file that this machine lacks. */
const SYSTEM = `
for root; do case $root in */root) break ;; esac; done
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib64"
cp /usr/bin/printenv "$root/usr/bin/client"
cp /usr/bin/cat "$root/usr/sbin/daemon"
for libc in /usr/lib/*-linux-gnu/libc.so.6; do
  mkdir -p "$root\${libc%/*}"
  cp -L "$libc" "$root$libc"
  cp -L /lib64/ld-linux-*.so.* "$root/usr/lib64" 2>/dev/null || cp -L /lib/ld-linux-*.so.* "$root/usr/lib"
done
echo own >"$root/usr/of-the-system"
echo '#!/bin/sh' >"$root/usr/sbin/script"
chmod 755 "$root/usr/sbin/script"
`
const QUERY = `case "$*" in
  *--listfiles*) printf '%s\\n' /usr/sbin /usr/bin/client /usr/sbin/daemon /usr/sbin/script /usr/share/nowhere ;;
  *) printf 1.2-3 ;;
esac`

const makePlace = (mmdebstrap: string) => {
  const place = mkdtempSync(join(tmpdir(), `flock-debian-${process.pid}-`))
  onTestFinished(() => rmSync(place, { recursive: true }))
  mkdirSync(join(place, "bin"))
  const program = (name: string, script: string) => {
    writeFileSync(join(place, "bin", name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(place, "bin", name), 0o755)
  }
  program("mmdebstrap", `echo "$*" >>${place}/calls\n${mmdebstrap}`)
  program("dpkg-query", QUERY)
  program("apt-config", `printf '%s\\n' 'Acquire::http::Proxy "http://proxy:3142";' 'Acquire::Languages "de";'`)
  return {
    program,
    cache: join(place, "cache/debian"),
    calls: () => existsSync(join(place, "calls")) ? readFileSync(join(place, "calls"), "utf8").trim().split("\n") : [],
    left: () => readdirSync(join(place, "cache/debian")).filter((name) => name.includes(".new.")),
    debian: (...words: ReadonlyArray<string>) =>
      new Promise<Ended>((done) => {
        execFile("/bin/sh", [SCRIPT, ...words], {
          env: { PATH: `${join(place, "bin")}:/usr/bin:/bin`, HOME: place, FLOCK_CACHE: join(place, "cache") }
        }, (error, stdout, stderr) => done({ code: error === null ? 0 : Number(error.code), stdout, stderr }))
      })
  }
}

describe("debian.sh", () => {
  it("makes the system once, says its folder, and says nothing else the second time", async () => {
    const { cache, calls, debian, left } = makePlace(SYSTEM)
    const folder = join(cache, "trixie-bird3_frr")
    const first = await debian("trixie", "frr", "bird3")
    assert.deepStrictEqual(first, {
      code: 0,
      stdout: `${folder}\n`,
      stderr: "debian: fetching frr bird3 of trixie\n"
    })
    assert.deepStrictEqual(await debian("trixie", "bird3", "frr"), { code: 0, stdout: `${folder}\n`, stderr: "" })
    assert.lengthOf(calls(), 1)
    assert.match(calls()[0] ?? "", /--include=frr,bird3 .* trixie \S+\/root$/)
    assert.deepStrictEqual(left(), [])
    assert.strictEqual(readFileSync(join(folder, "versions"), "utf8"), "frr 1.2-3\nbird3 1.2-3\n")
  })

  it("fetches as this machine's apt does", async () => {
    const { cache, debian } = makePlace(SYSTEM)
    await debian("trixie", "bird3")
    assert.strictEqual(
      readFileSync(join(cache, "trixie-bird3/apt.conf"), "utf8"),
      `Acquire::Retries "3";\nAcquire::http::Proxy "http://proxy:3142";\n`
    )
  })

  const ran = (program: string, ...args: ReadonlyArray<string>) =>
    new Promise<string>((done, fail) => {
      execFile(program, args, { env: { PATH: "/usr/bin:/bin", SAID: "by the client", LD_DEBUG: "libs" } }, (
        error,
        stdout,
        stderr
      ) => stdout === "" ? fail(error) : done(stdout + stderr))
    })

  it("has the programs to run, with their own libraries, and scripts not", async () => {
    const { cache, debian } = makePlace(SYSTEM)
    await debian("trixie", "bird3")
    assert.deepStrictEqual(readdirSync(join(cache, "trixie-bird3/bin")), ["client", "daemon"])
    const output = await ran(join(cache, "trixie-bird3/bin/client"), "SAID WITH SPACE", "SAID")
    assert.include(output, "by the client\n")
    assert.match(output, new RegExp(`calling init: ${cache}/trixie-bird3/root/usr/lib/.*/libc\\.so\\.6`))
  })

  it.runIf(process.getuid?.() === 0)("runs daemons on their own /usr as root", async () => {
    const { cache, debian } = makePlace(SYSTEM)
    await debian("trixie", "bird3")
    assert.include(await ran(join(cache, "trixie-bird3/bin/daemon"), "/usr/of-the-system"), "own\n")
    assert.isFalse(existsSync("/usr/of-the-system"))
  })

  it("does it once when two run at once", async () => {
    const { calls, debian } = makePlace(`sleep 0.5\n${SYSTEM}`)
    const ended = await Promise.all([debian("trixie", "bird3"), debian("trixie", "bird3")])
    assert.deepStrictEqual(ended.map(({ code }) => code), [0, 0])
    assert.strictEqual(ended[0]?.stdout, ended[1]?.stdout)
    assert.lengthOf(calls(), 1)
  })

  it("says what failed, leaves nothing that looks whole, and tries again", async () => {
    const { cache, debian, left, program } = makePlace(`echo 'E: no route to host' >&2; exit 25`)
    const { code, stderr, stdout } = await debian("sid", "bird3")
    assert.strictEqual(code, 1)
    assert.strictEqual(stdout, "")
    assert.include(stderr, "E: no route to host\n")
    assert.include(stderr, "debian: bird3 of sid could not be fetched")
    assert.isFalse(existsSync(join(cache, "sid-bird3")))
    assert.deepStrictEqual(left(), [])
    program("mmdebstrap", SYSTEM)
    assert.strictEqual((await debian("sid", "bird3")).code, 0)
  })

  it("clears away what a killed run left", async () => {
    const { cache, debian, left } = makePlace(SYSTEM)
    mkdirSync(join(cache, "sid-bird3.new.abc/root"), { recursive: true })
    await debian("sid", "bird3")
    assert.deepStrictEqual(left(), [])
  })

  it.each([[[]], [["trixie"]], [["trixie", "--setup-hook=x"]], [["../x", "bird2"]], [["trixie", ""]]])(
    "refuses %j",
    async (words) => {
      const { calls, debian } = makePlace(SYSTEM)
      const { code, stderr } = await debian(...words)
      assert.strictEqual(code, 1)
      assert.match(stderr, /^debian: /)
      assert.deepStrictEqual(calls(), [])
    }
  )
})
