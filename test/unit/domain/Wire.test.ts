import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema } from "effect"
import { encodeError, encodeRequest, encodeResult, RequestFromLine } from "../../../src/domain/Wire.ts"

const decode = Schema.decodeUnknownEffect(RequestFromLine)

describe("Wire", () => {
  it.effect("reads back a request with hostile text", () =>
    Effect.gen(function*() {
      const request = {
        op: "ADD",
        containerId: "c\n\"\\\u0000",
        netns: "/run/netns/ü",
        ifName: "eth0",
        args: "K8S_POD_NAME=a;b=\u2028",
        path: "/opt/cni/bin:/x",
        config: "{\"cniVersion\":\"1.1.0\"}\r\n"
      }
      const line = encodeRequest(request)
      assert.strictEqual(line.indexOf("\n"), line.length - 1)
      assert.deepStrictEqual(yield* decode(line), request)
    }))

  it.effect("fills in what a tool leaves out, but not the op", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* decode("{\"op\":\"status\"}"), {
        op: "status",
        containerId: "",
        netns: "",
        ifName: "",
        args: "",
        path: "",
        config: ""
      })
      for (const line of ["{}", "", "null", "{\"op\":1}", "{\"op\":\"ADD\",\"config\":{}}"]) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(decode(line))), line)
      }
    }))

  it("writes the two keys first and exactly so, on one line", () => {
    assert.strictEqual(
      encodeResult({ cniVersion: "1.0.0", a: "x\ny" }),
      "{\"result\":{\"cniVersion\":\"1.0.0\",\"a\":\"x\\ny\"}}\n"
    )
    assert.strictEqual(encodeResult(null), "{\"result\":null}\n")
    assert.strictEqual(encodeResult(undefined), "{\"result\":null}\n")
    const error = { details: "d", msg: "a \"b\"\n", code: 11, cniVersion: "1.1.0" }
    assert.strictEqual(
      encodeError(error),
      "{\"error\":{\"cniVersion\":\"1.1.0\",\"code\":11,\"msg\":\"a \\\"b\\\"\\n\",\"details\":\"d\"}}\n"
    )
    assert.strictEqual(
      encodeError({ cniVersion: "1.1.0", code: 4, msg: "m" }),
      "{\"error\":{\"cniVersion\":\"1.1.0\",\"code\":4,\"msg\":\"m\"}}\n"
    )
  })
})
