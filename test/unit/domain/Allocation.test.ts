import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Allocation } from "../../../src/domain/Allocation.ts"
import { address } from "../../../src/domain/Ip.ts"

const Record = Schema.fromJsonString(Allocation)
const decode = Schema.decodeUnknownEffect(Record)
const encode = Schema.encodeEffect(Record)

/** As an agent of version 0.1.0 wrote them, byte for byte: an agent that is replaced leaves such files to the next one. */
const DUAL = "{\"version\":1,\"bootId\":\"5f3c1f0e-6f3b-4c7a-9a55-0d4a6c1a2b3c\",\"network\":\"flock\"," +
  "\"containerId\":\"0a1b2c\",\"ifName\":\"eth0\",\"netns\":\"/run/netns/cni-1\"," +
  "\"pod\":{\"namespace\":\"default\",\"name\":\"web-1\",\"uid\":\"u-1\"},\"hostIfName\":\"flock0a1b2c3d\"," +
  "\"mtu\":1500,\"ipv6\":\"2001:db8:1::a\",\"ipv4\":\"10.42.1.2\",\"gateway4\":\"10.42.1.1\",\"chosen\":[]," +
  "\"anycast\":[\"2001:db8:a::53\",\"192.0.2.53\"],\"createdAt\":\"2026-01-01T00:00:00.000Z\"}"
const CHOSEN = "{\"version\":1,\"bootId\":\"5f3c1f0e-6f3b-4c7a-9a55-0d4a6c1a2b3c\",\"network\":\"flock\"," +
  "\"containerId\":\"0a1b2c\",\"ifName\":\"eth0\",\"netns\":\"\",\"pod\":{\"namespace\":\"\",\"name\":\"\",\"uid\":\"\"}," +
  "\"hostIfName\":\"flock0a1b2c3d\",\"mtu\":1500,\"ipv6\":\"2001:db8:a::7\",\"chosen\":[\"2001:db8:a::7\"]," +
  "\"anycast\":[],\"createdAt\":\"2026-01-01T00:00:00.000Z\"}"

describe("an allocation's record", () => {
  it.effect("of version 0.1.0 is read", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* decode(DUAL)).addresses, {
        ipv6: address("2001:db8:1::a"),
        ipv4: address("10.42.1.2"),
        gateway4: address("10.42.1.1"),
        chosen: [],
        anycast: [address("2001:db8:a::53"), address("192.0.2.53")]
      })
      assert.deepStrictEqual((yield* decode(CHOSEN)).addresses, {
        ipv6: address("2001:db8:a::7"),
        chosen: [address("2001:db8:a::7")],
        anycast: []
      })
    }))

  it.effect.each([DUAL, CHOSEN])(
    "is written as it was, so that an older agent reads it too",
    (text) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* encode(yield* decode(text)), text)
      })
  )

  it.effect.each([
    DUAL.replace("\"192.0.2.53\"", "\"192.0.2.530\""),
    DUAL.replace(",\"chosen\":[]", ""),
    DUAL.replace("\"version\":1", "\"version\":2"),
    DUAL.slice(0, 100)
  ])("is refused where a field is wrong or missing: %s", (text) =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(decode(text)))._tag, "SchemaError")
    }))
})
