import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { bin, build, STATUS_WAIT, world } from "./harness.ts"

/** Types of the program headers of a 64-bit little-endian ELF file (`elf.h`). */
const segments = (elf: Buffer): ReadonlyArray<number> => {
  const [offset, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)]
  return Array.from({ length: count }, (_, i) => elf.readUInt32LE(offset + i * size))
}

describe("the built plugin", () => {
  it("needs no library and no loader", async () => {
    const PT_DYNAMIC = 2
    const PT_INTERP = 3
    const types = segments(await readFile(bin))
    assert.isNotEmpty(types)
    assert.notInclude(types, PT_DYNAMIC)
    assert.notInclude(types, PT_INTERP)
  })

  it("is no dynamic executable for ldd", async () => {
    const said = await new Promise<string>((done) => execFile("ldd", [bin], (_, out, err) => done(out + err)))
    assert.include(said, "not a dynamic executable")
  })

  it("is smaller than 1 MB", async () => {
    assert.isBelow((await readFile(bin)).length, 1_000_000)
  })

  it("is the same bytes wherever and whenever it is built", async () => {
    const again = await build(join(world.directory, "elsewhere"), `STATUS_WAIT_MS=${STATUS_WAIT}`)
    assert.isTrue((await readFile(bin)).equals(await readFile(again)))
  })

  it("does not carry the paths it was built in", async () => {
    assert.isFalse((await readFile(bin)).includes(import.meta.dirname.replace("/test/cni", "")))
  })
})
