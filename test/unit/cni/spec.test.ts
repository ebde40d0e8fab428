import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { parseArgs, parseConfig, requireAttachment, requireVersion, versionForError } from "../../../src/cni/spec.ts"

const code = (result: Result.Result<unknown, { readonly code: number }>): number =>
  Result.isSuccess(result) ? 0 : result.failure.code

describe("network configuration", () => {
  it.each([
    ["", 6],
    ["{", 6],
    ["[]", 6],
    ["\"x\"", 6],
    ["{\"cniVersion\":1}", 7],
    ["{\"cniVersion\":\"1.0.0\",\"name\":5}", 7],
    ["{\"cniVersion\":\"1.0.0\",\"prevResult\":[]}", 7],
    ["{\"cniVersion\":\"1.0.0\",\"name\":\"flock\",\"prevResult\":null}", 0]
  ])("%s gives code %d", (text, expected) => assert.strictEqual(code(parseConfig(text)), expected))

  it.each(["cniVersion", "name"])("a %s of no sense is quoted on one line, and cut", (field) => {
    const config = JSON.stringify({ cniVersion: "1.0.0", [field]: { "\u202e\u001b[31m": "x".repeat(100_000) } })
    const { message } = Result.getOrThrow(Result.flip(parseConfig(config)))
    assert.match(message, /^[ -~]{1,200}$/)
  })

  it("takes GC's list under either name, the specification's first", () => {
    const list = (id: string) => [{ containerID: id, ifname: "eth0" }]
    const both = parseConfig(
      JSON.stringify({ "cni.dev/valid-attachments": list("a"), "cni.dev/attachments": list("b") })
    )
    const old = parseConfig(JSON.stringify({ "cni.dev/attachments": list("b") }))
    assert.deepStrictEqual(Result.getOrThrow(both).validAttachments, [{ containerId: "a", ifName: "eth0" }])
    assert.deepStrictEqual(Result.getOrThrow(old).validAttachments, [{ containerId: "b", ifName: "eth0" }])
    assert.isUndefined(Result.getOrThrow(parseConfig("{}")).validAttachments)
  })
})

describe("versions", () => {
  it.each(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])("%s is served", (version) => {
    assert.strictEqual(code(requireVersion(version)), 0)
  })
  it.each(["0.1.0", "0.2.0", "1.2.0", "2.0.0", "", "1.0", "1.0.0 "])("%s is refused with code 1", (version) => {
    assert.strictEqual(code(requireVersion(version)), 1)
  })
  it("an error carries the version asked for, if it looks like one", () => {
    assert.strictEqual(versionForError("{\"cniVersion\":\"0.4.0\"}"), "0.4.0")
    assert.strictEqual(versionForError("{\"cniVersion\":\"0.4.0\\\"}\"}"), "1.1.0")
    assert.strictEqual(versionForError("garbage"), "1.1.0")
  })
})

describe("environment", () => {
  it.each([
    ["0123abcdef", "eth0", 0],
    ["", "eth0", 4],
    ["-abc", "eth0", 4],
    ["a/b", "eth0", 4],
    ["a\nb", "eth0", 4],
    ["a".repeat(221), "eth0", 4],
    ["abc", "", 4],
    ["abc", "..", 4],
    ["abc", "a/b", 4],
    ["abc", "a:b", 4],
    ["abc", "a b", 4],
    ["abc", "sixteencharacter", 4],
    ["abc", "fifteencharacte", 0]
  ])("container %j with interface %j gives code %d", (containerId, ifName, expected) => {
    assert.strictEqual(code(requireAttachment({ containerId, ifName })), expected)
  })

  it("CNI_ARGS are pairs; a value may hold =", () => {
    const args = Result.getOrThrow(parseArgs("IgnoreUnknown=1;K8S_POD_NAME=a;X=b=c;"))
    assert.strictEqual(args.get("K8S_POD_NAME"), "a")
    assert.strictEqual(args.get("X"), "b=c")
    assert.strictEqual(Result.getOrThrow(parseArgs("")).size, 0)
    assert.strictEqual(code(parseArgs("novalue")), 4)
    assert.strictEqual(code(parseArgs("=x")), 4)
  })
})
