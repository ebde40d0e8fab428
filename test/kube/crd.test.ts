/** crd.yaml as the real API server reads it: the same verdicts as the walker of the unit tests, and pruning. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { World } from "../../lab/World.ts"
import { single, specs } from "../unit/kube/specs.ts"
import { defaulted, refusals, spec, walk } from "../unit/kube/structural.ts"
import * as lab from "./lab.ts"

const PEER = { address: "192.0.2.1", asn: 65000 }
const SECRET = "s3cret, not to be seen"
const base = { cidr6: "2001:db8:1::/64" }
const allowed = (cidr: string) => ({ ...base, anycast: { allowedCIDRs: [cidr] } })
const grant = (it: object) => ({
  ...base,
  anycast: { grants: [{ cidr: "2001:db8:a::/64", namespaces: ["a"], ...it }] }
})
const bgp = (it: object) => ({ ...base, bgp: { asn: 65001, ...it } })
const peer = (it: object) => bgp({ peers: [{ ...PEER, ...it }] })

/** What kubectl prints for each CEL rule, to the letter. */
const RULES: ReadonlyArray<readonly [string, unknown]> = [
  ["spec: Invalid value: needs cidr6, cidr4 or both: without one no pod can have an address", {}],
  [
    "spec.cidr6: Invalid value: \"foo\": must be an IPv6 prefix of length 16 to 126, such as 2001:db8:1::/64",
    { cidr6: "foo" }
  ],
  [
    "spec.cidr6: Invalid value: \"fe80::/64\": overlaps a special range (loopback, link-local, multicast, ...); use " +
    "unicast space of your own, such as 2001:db8:1::/64",
    { cidr6: "fe80::/64" }
  ],
  [
    "spec.cidr4: Invalid value: \"10.42.1.0\": must be an IPv4 prefix of length 8 to 30, such as 10.42.1.0/24",
    { cidr4: "10.42.1.0" }
  ],
  [
    "spec.cidr4: Invalid value: \"169.0.0.0/8\": overlaps a special range (loopback, link-local, multicast, ...); use " +
    "unicast space of your own, such as 10.42.1.0/24",
    { cidr4: "169.0.0.0/8" }
  ],
  [
    "spec.anycast.allowedCIDRs[0]: Invalid value: \"192.0.2.53\": must be a prefix, such as 2001:db8:a::/64 or 192.0.2.0/24",
    allowed("192.0.2.53")
  ],
  [
    "spec.anycast.allowedCIDRs[0]: Invalid value: \"127.8.0.0/16\": lies in a special range (loopback, link-local, " +
    "multicast, ...): no pod can have an address of it",
    allowed("127.8.0.0/16")
  ],
  [
    "spec.anycast.grants[0].cidr: Invalid value: \"x\": must be a prefix, such as 2001:db8:a::/64 or 192.0.2.0/24",
    grant({ cidr: "x" })
  ],
  [
    "spec.anycast.grants[0].cidr: Invalid value: \"::/0\": grants every address there is, or lies in a special range " +
    "(loopback, link-local, multicast, ...); write the prefixes that these namespaces may announce",
    grant({ cidr: "::/0" })
  ],
  [
    "spec.anycast.grants[0].namespaces[0]: Invalid value: \"Shop\": must be a namespace's name, or a glob in which * " +
    "stands for any characters, such as shop or team-*",
    grant({ namespaces: ["Shop"] })
  ],
  [
    "spec.antiSpoofingExemptNamespaces[0]: Invalid value: \"team-*\": must be the name of a namespace",
    { ...base, antiSpoofingExemptNamespaces: ["team-*"] }
  ],
  [
    "spec.bgp.routerID: Invalid value: \"0.0.0.0\": must be a router ID in dotted-quad form, such as 192.0.2.2",
    bgp({ routerID: "0.0.0.0" })
  ],
  [
    "spec.bgp.advertise[0]: Invalid value: \"192.0.2.1\": must be a prefix, such as 2001:db8:a::/64 or 192.0.2.0/24",
    bgp({ advertise: ["192.0.2.1"] })
  ],
  [
    "spec.bgp.advertise[0]: Invalid value: \"0.0.0.0/0\": is everything there is, or lies in a special range (loopback, " +
    "link-local, multicast, ...); write the prefixes that this node serves",
    bgp({ advertise: ["0.0.0.0/0"] })
  ],
  [
    "spec.bgp.importCIDRs[0]: Invalid value: \"default\": must be a prefix, such as 2001:db8::/32 or 0.0.0.0/0",
    bgp({ importCIDRs: ["default"] })
  ],
  [
    "spec.bgp.importCIDRs[0]: Invalid value: \"ff00::/8\": lies in a special range (loopback, link-local, multicast, " +
    "...): nothing of it is ever learned",
    bgp({ importCIDRs: ["ff00::/8"] })
  ],
  [
    "spec.bgp.peers[0].ttlSecurity: Invalid value: must be false where multihop is not 0 (RFC 5082)",
    peer({ ttlSecurity: true, multihop: 2 })
  ],
  [
    "spec.bgp.peers[0].roleStrictMode: Invalid value: needs a localRole (RFC 9234)",
    peer({ roleStrictMode: true })
  ],
  [
    "spec.bgp.peers: Invalid value: must not have a localRole where a peer has the node's own AS number (RFC 9234)",
    peer({ asn: 65001, localRole: "customer" })
  ],
  [
    "spec.bgp.peers[0].address: Invalid value: \"router1\": must be an IPv6 or IPv4 address, such as 2001:db8:ffff::1",
    peer({ address: "router1" })
  ],
  [
    "spec.bgp.peers[0].address: Invalid value: \"::\": is unspecified, IPv4-mapped, multicast or broadcast; write the " +
    "router's own global address, such as 2001:db8:ffff::1",
    peer({ address: "::" })
  ],
  [
    "spec.bgp.peers[0].address: Invalid value: \"fe80::1\": is link-local; write the interface as well, such as " +
    "fe80::1%eth0, or the field interface in its place",
    peer({ address: "fe80::1" })
  ],
  [
    "spec.bgp.peers[0].address: Invalid value: \"2001:db8::1%eth0\": must have the name of an interface after %, and " +
    "only where it is link-local (fe80::1%eth0)",
    peer({ address: "2001:db8::1%eth0" })
  ],
  [
    "spec.bgp.peers[0].address: Invalid value: \"fe80::1%flock0a1b2c3d\": must have an interface that leads to a router, " +
    "and not the host end of a pod's link (flock...)",
    peer({ address: "fe80::1%flock0a1b2c3d" })
  ],
  [
    "spec.bgp.peers[0].interface: Invalid value: \"e th0\": must be the name of an interface, such as eth0 or bond0.100: " +
    "up to 15 letters, digits, -, _ and ., a letter or digit first",
    bgp({ peers: [{ interface: "e th0", asn: 65000 }] })
  ],
  [
    "spec.bgp.peers[0].interface: Invalid value: \"flock0a1b2c3d\": must be an interface that leads to a router, and not " +
    "the host end of a pod's link (flock...)",
    bgp({ peers: [{ interface: "flock0a1b2c3d", asn: 65000 }] })
  ],
  [
    "spec.bgp.peers[0]: Invalid value: needs address or interface, and not both",
    peer({ interface: "eth0" })
  ],
  [
    "spec.bgp.peers[0].multihop: Invalid value: must be 0 for a router on an interface's own link",
    bgp({ peers: [{ interface: "eth0", asn: 65000, multihop: 2 }] })
  ],
  [
    "spec.bgp.peers[0].localAddress: Invalid value: must not be set for a router on an interface's own link",
    bgp({ peers: [{ interface: "eth0", asn: 65000, localAddress: "192.0.2.9" }] })
  ],
  [
    "spec.bgp.peers[0].localAddress: Invalid value: must be of the same family as the router's address",
    bgp({ peers: [{ ...PEER, address: "2001:db8:ffff::1", localAddress: "192.0.2.9" }] })
  ],
  [
    "spec.bgp.peers[0].localAddress: Invalid value: \"::9/64\": must be an IPv6 or IPv4 address, such as 2001:db8:ffff::2",
    bgp({ peers: [{ ...PEER, address: "2001:db8:ffff::1", localAddress: "::9/64" }] })
  ],
  [
    "spec.bgp.peers[0].localAddress: Invalid value: \"fe80::9\": is unspecified, IPv4-mapped, link-local, multicast or " +
    "broadcast; write an address that the node has, such as 2001:db8:ffff::2",
    bgp({ peers: [{ ...PEER, address: "2001:db8:ffff::1", localAddress: "fe80::9" }] })
  ],
  [
    "spec.bgp.peers: Invalid value: must be different peers: two have the same address or interface",
    bgp({ peers: [{ interface: "eth0", asn: 65000 }, PEER, { interface: "eth0", asn: 65001 }] })
  ],
  [
    "spec.bgp.peers: Invalid value: must be the only peer on its interface, unless each is written as an address",
    bgp({ peers: [{ interface: "eth0", asn: 65000 }, { address: "fe80::1%eth0", asn: 65000 }] })
  ],
  [
    "spec.bgp.peers[0].asn: Invalid value: \"any\": must be an AS number (1 to 4294967294), external or internal",
    peer({ asn: "any" })
  ],
  [
    "spec.bgp.peers[0].holdTimeSeconds: Invalid value: 2: must be 0, or 3 to 65535",
    peer({ holdTimeSeconds: 2 })
  ],
  [
    "spec.bgp.peers[0].passwordSecretRef.name: Invalid value: must be the name of a Secret: small letters, digits, - and .",
    peer({ passwordSecretRef: { name: "Tor", key: "password" } })
  ],
  [
    "spec.bgp.peers[0].passwordSecretRef.key: Invalid value: must be a key of a Secret's data: letters, digits, -, _ and .",
    peer({ passwordSecretRef: { name: "tor", key: "pass word" } })
  ],
  [
    "spec.bgp.peers[0].communities[0]: Invalid value: \"no-exports\": must be a community: 65001:100, large 65001:1:2, or one of no-export, no-advertise, no-peer, graceful-shutdown",
    peer({ communities: ["no-exports"] })
  ]
]

/** A spec that is good but for `value` at `path`, such as `spec.bgp.peers[].port`. */
const specWith = (path: string, value: unknown): unknown => {
  const spec = structuredClone({
    cidr6: "2001:db8:1::/64",
    anycast: { grants: [{ cidr: "2001:db8:a::/64", namespaces: ["a"] }] },
    bgp: { asn: 65001, peers: [{ ...PEER, passwordSecretRef: { name: "tor", key: "password" } }] }
  })
  const keys = path.replaceAll("[]", ".0").split(".").slice(1)
  const last = keys.pop() ?? ""
  const target = keys.reduce<Record<string, unknown>>(
    (inner, key, i) => (inner[key] ??= (keys[i + 1] ?? last) === "0" ? [] : {}) as Record<string, unknown>,
    spec as Record<string, unknown>
  )
  target[last] = value
  return spec
}

describe.runIf(available)("the CRD, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
  })
  afterAll(() => world.close())

  const agrees = async (value: unknown) => {
    const object = { ...lab.nodeConfig(), spec: value }
    const { body, status } = await api.call("POST", `${lab.NODECONFIGS}?dryRun=All`, object)
    const expected = refusals(value)
    assert.strictEqual(status, expected.length === 0 ? 201 : 422, JSON.stringify({ value, expected, body }))
    if (status === 201) assert.deepStrictEqual(body.spec, defaulted(spec, value))
  }

  it("takes, refuses and completes what the walker of the unit tests does", async () => {
    const whole = await fc.check(fc.asyncProperty(specs, agrees), { numRuns: 300 })
    assert.isFalse(whole.failed, fc.defaultReportMessage(whole))
    const fields = await fc.check(fc.asyncProperty(single, agrees), { numRuns: 700 })
    assert.isFalse(fields.failed, fc.defaultReportMessage(fields))
  }, 120_000)

  /** What a person sees of a refusal, without the head that names the object and the server's own remark on unread rules. */
  const seen = async (value: unknown): Promise<string> => {
    const { body, status } = await api.call(
      "POST",
      `${lab.NODECONFIGS}?dryRun=All&fieldValidation=Strict`,
      { ...lab.nodeConfig(), spec: value }
    )
    assert.oneOf(status, [400, 422], JSON.stringify(value))
    return body.message.replace(/^.*? is invalid: /, "").replace(/^\[(.*)\]$/, "$1")
      .replace(/, <nil>: Invalid value: null: some validation rules were not checked.*$/, "")
  }

  it.each(RULES)("%s", async (text, value) => assert.strictEqual(await seen(value), text))

  it("has words for every rule", () => {
    const messages: Array<string> = []
    walk(spec, "spec", (schema) => {
      for (const { message } of schema["x-kubernetes-validations"] ?? []) messages.push(message)
    })
    assert.isAbove(messages.length, 15)
    for (const message of messages) assert.isTrue(RULES.some(([text]) => text.endsWith(`: ${message}`)), message)
  })

  it("says of bounds, choices and types what is right", async () => {
    const checked: Array<string> = []
    const expect = async (path: string, value: unknown, text: string) => {
      checked.push(text)
      const at = path.replaceAll("[]", "[0]")
      assert.include((await seen(specWith(path, value))).replaceAll(at, "FIELD"), text, path)
    }
    const bounds: Array<() => Promise<void>> = []
    walk(spec, "spec", (schema, path) => {
      const { enum: choices, maxItems, maxLength, maximum, minItems, minimum, type } = schema
      const bound = (value: unknown, text: string) => bounds.push(() => expect(path, value, text))
      const invalid = (value: unknown) => `FIELD: Invalid value: ${JSON.stringify(value)}: FIELD in body`
      if (minimum !== undefined) {
        bound(minimum - 1, `${invalid(minimum - 1)} should be greater than or equal to ${minimum}`)
      }
      if (maximum !== undefined) {
        bound(maximum + 1, `${invalid(maximum + 1)} should be less than or equal to ${maximum}`)
      }
      if (maxLength !== undefined) {
        bound("x".repeat(maxLength + 1), `FIELD: Too long: may not be more than ${maxLength} bytes`)
      }
      if (minItems !== undefined) bound([], `${invalid(0)} should have at least ${minItems} items`)
      if (maxItems !== undefined) {
        bound(
          Array.from({ length: maxItems + 1 }),
          `FIELD: Too many: ${maxItems + 1}: must have at most ${maxItems} items`
        )
      }
      if (choices !== undefined) {
        bound(
          "x",
          `FIELD: Unsupported value: "x": supported values: ${choices.map((it) => JSON.stringify(it)).join(", ")}`
        )
      }
      if (type === "boolean" || type === "integer") {
        bound("x", `${invalid("string")} must be of type ${type}: "string"`)
      }
    })
    for (const bound of bounds) await bound()
    assert.isAbove(checked.length, 50)
    assert.strictEqual(await seen({ cidr6: "2001:db8:1::/64", bgp: {} }), "spec.bgp.asn: Required value")
    const twice = { cidr6: "2001:db8:1::/64", bgp: { asn: 1, peers: [PEER, PEER] } }
    const words = "spec.bgp.peers: Invalid value: must be different peers: two have the same address or interface"
    assert.strictEqual(await seen(twice), words)
    const set = { cidr6: "2001:db8:1::/64", defaults: { ipAlgo: ["pod", "pod"] } }
    assert.strictEqual(await seen(set), "spec.defaults.ipAlgo[1]: Duplicate value: \"pod\"")
  }, 120_000)

  it("refuses a password in a NodeConfig, and repeats it nowhere", async () => {
    for (
      const [peer, text] of [
        [{ password: SECRET }, "unknown field \"spec.bgp.peers[0].password\""],
        [{ passwordSecretRef: SECRET }, "spec.bgp.peers[0].passwordSecretRef in body must be of type object"],
        [{ passwordSecretRef: { name: SECRET, key: "k" } }, "passwordSecretRef.name: Invalid value: must be the name"],
        [{ passwordSecretRef: { name: "tor", key: SECRET } }, "passwordSecretRef.key: Invalid value: must be a key"],
        [{ passwordSecretRef: { name: "tor", key: "k", password: SECRET } }, "unknown field"]
      ] as const
    ) {
      const words = await seen(specWith("spec.bgp.peers[]", { ...PEER, ...peer }))
      assert.include(words, text)
      assert.notInclude(words, "s3cret")
    }
  })

  it("counts within CEL's budget where every list is as long as it may be", async () => {
    const fill = <A>(length: number, item: (i: number) => A) => Array.from({ length }, (_, i) => item(i))
    const prefix = (i: number) => `2001:0db8:aaaa:bbbb:cccc:dddd:eeee:${i.toString(16).padStart(4, "0")}/128`
    const longest = fill(64, (i) => `4294967295:4294967295:${1000000000 + i}`)
    const object = lab.nodeConfig(lab.NODE, {
      anycast: {
        allowedCIDRs: fill(256, prefix),
        grants: fill(
          256,
          (i) => ({ cidr: prefix(i), namespaces: fill(64, () => "a".repeat(63)), communities: longest.slice(0, 16) })
        )
      },
      antiSpoofingExemptNamespaces: fill(256, () => "a".repeat(63)),
      bgp: {
        asn: 65001,
        importCIDRs: fill(256, prefix),
        advertise: fill(64, prefix),
        peers: fill(64, (i) => ({
          address: `2001:0db8:aaaa:bbbb:cccc:dddd:eeee:${i.toString(16).padStart(4, "0")}`,
          asn: 65000,
          passwordSecretRef: { name: "a".repeat(253), key: "a".repeat(253) },
          communities: longest
        }))
      }
    })
    const { body, status } = await api.call("POST", `${lab.NODECONFIGS}?dryRun=All`, object)
    assert.strictEqual(status, 201, body.message)
  })

  it("has the short name nc, prunes unknown fields, and keeps the status out of a spec write", async () => {
    const { body: { resources } } = await api.call("GET", "/apis/flock.fritzlab.net/v1alpha1")
    assert.deepStrictEqual(resources.find((r: { readonly name: string }) => r.name === "nodeconfigs").shortNames, [
      "nc"
    ])
    const { body, status } = await api.call("POST", lab.NODECONFIGS, {
      ...lab.nodeConfig(lab.NODE, { cidr9: "x" }),
      status: { observedGeneration: 7 }
    })
    assert.strictEqual(status, 201)
    assert.isUndefined(body.spec.cidr9)
    assert.isUndefined(body.status)
  })
})
