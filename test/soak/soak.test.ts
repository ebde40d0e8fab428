/** A short soak, always the same: `npm run soak` for longer ones. */
import { assert, describe, it } from "@effect/vitest"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { exec } from "../../lab/exec.ts"

const MAIN = join(import.meta.dirname, "main.ts")

const logs = mkdtempSync(join(tmpdir(), `flock-soak-test-${process.pid}-`))
afterAll(() => rmSync(logs, { recursive: true }))

const soak = (...args: ReadonlyArray<string>) =>
  exec(process.execPath, [MAIN, ...args], { env: { ...process.env, SOAK_LOGS: logs } })

describe("a soak", () => {
  it("of 600 operations and 36 faults: agent, records, kernel, pods and router agree after every round", async () => {
    const { code, stderr, stdout } = await soak("--seed", "20261125", "--operations", "600")
    console.log(stdout)
    assert.strictEqual(code, 0, stdout + stderr)
    assert.match(stdout, /^all agree, nothing is left\. 600 operations and 36 faults in 6 rounds/m)
  })

  it("fails where something is wrong, says how to have it again, and leaves nothing behind", async () => {
    const { code, stdout } = await soak(
      "--seed",
      "1",
      "--operations",
      "10",
      "--per-round",
      "10",
      "--settle",
      "3",
      "--spoil"
    )
    assert.strictEqual(code, 1, stdout)
    assert.match(stdout, /^round 1 FAILED:\nnode1, records: attachment .* is lost$/m)
    assert.include(readdirSync(logs), "node1.agent.log")
    assert.match(stdout, /^again: npm run soak -- .*--seed 1 --rounds 1-1$/m)
  })

  it("says what it does not understand", async () => {
    for (const args of [["--minutes", "soon"], ["--rounds", "3-"], ["--faults", "flood"], ["--nonsense"]]) {
      const { code, stderr } = await soak(...args)
      assert.strictEqual(code, 2, args.join(" "))
      assert.match(stderr, /^soak: .*\nusage: npm run soak/m)
    }
  })
})
