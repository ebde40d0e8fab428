/** manifests/crd.yaml and src/domain/NodeConfig.ts say the same. */
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as fc from "fast-check"
import { readdirSync, readFileSync } from "node:fs"
import { resolve } from "node:path"
import { parseAllDocuments } from "yaml"
import { SPECIAL_RANGES } from "../../../src/domain/addressRules.ts"
import { bitsOf, formatCidr, lastOf, networkOf } from "../../../src/domain/Ip.ts"
import * as NodeConfig from "../../../src/domain/NodeConfig.ts"
import { single, specs, spellings } from "./specs.ts"
import { crd, defaulted, problems, refusals, type Schema as Structural, spec, walk } from "./structural.ts"

interface Node {
  readonly type?: string
  readonly anyOf?: ReadonlyArray<unknown>
  readonly "x-kubernetes-int-or-string"?: true
  readonly properties?: Readonly<Record<string, Node>>
  readonly required?: ReadonlyArray<string>
  readonly items?: Node
  readonly enum?: ReadonlyArray<unknown>
  readonly minimum?: number
  readonly maximum?: number
}

const ours = Schema.toJsonSchemaDocument(NodeConfig.NodeConfigSpec).schema as Node

/** Every path with its type, what is required there, choices and bounds; `Schema.Int` has the bounds of a double. */
const shape = (node: Node, path = "spec"): ReadonlyArray<string> => [
  `${path} ${node["x-kubernetes-int-or-string"] || node.anyOf !== undefined ? "int or string" : node.type} required=${
    [...node.required ?? []].toSorted()
  } enum=${node.enum ?? ""}`,
  ...(node.type !== "integer" || path.endsWith(".holdTimeSeconds") ? [] : [`${path} ${node.minimum}..${node.maximum}`]),
  ...Object.entries(node.properties ?? {}).toSorted(([a], [b]) => a < b ? -1 : 1)
    .flatMap(([key, inner]) => shape(inner, `${path}.${key}`)),
  ...(node.items === undefined ? [] : shape(node.items, `${path}[]`))
]

const agentProblems = (value: unknown): ReadonlyArray<NodeConfig.Problem> =>
  Result.match(
    NodeConfig.decode("n", {
      apiVersion: NodeConfig.API_VERSION,
      kind: "NodeConfig",
      metadata: { name: "n" },
      spec: value
    }),
    { onFailure: ({ problems }) => problems, onSuccess: () => [] }
  )

/** What no pattern can say: arithmetic on addresses, and fields that the server prunes. */
const UNSAYABLE =
  /has host bits set|overlaps a range that is IPv4-mapped|two peers have this address|unknown field|has the node's own|is the node's own prefix|is listed twice/

const agree = (value: unknown) => {
  const server = refusals(value)
  const agent = agentProblems(value)
  if (server.length > 0) {
    assert.isNotEmpty(
      agent,
      `the server refuses (${server.join("; ")}) what the agent takes: ${JSON.stringify(value)}`
    )
  } else {
    const missed = agent.filter(({ message }) => !UNSAYABLE.test(message))
    assert.isEmpty(missed, `the server takes what the agent refuses: ${JSON.stringify(value)}`)
  }
}

describe("the CRD and the agent's schema", () => {
  it("have the same fields, types, required fields, choices and bounds", () => {
    assert.deepStrictEqual(shape(spec), shape(ours))
  })

  it("have the same defaults", () => {
    for (
      const given of [
        { cidr6: "2001:db8:1::/64" },
        { cidr4: "10.42.1.0/24", bgp: { asn: 1 }, defaults: { ipv4: false } },
        { cidr4: "10.42.1.0/24", anycast: {}, bgp: { asn: 1, peers: [{ address: "192.0.2.1", asn: 2 }] } }
      ]
    ) {
      const decoded = Schema.decodeSync(NodeConfig.NodeConfigSpec)(given)
      assert.deepStrictEqual(defaulted(spec, given), Schema.encodeSync(NodeConfig.NodeConfigSpec)(decoded))
    }
  })

  it("take and refuse the same specs", () => {
    assert.doesNotThrow(() => fc.assert(fc.property(specs, agree), { numRuns: 3000 }))
  }, 120_000)

  it("take and refuse the same fields", () => {
    assert.doesNotThrow(() => fc.assert(fc.property(single, agree), { numRuns: 6000 }))
  }, 120_000)

  const withPrefix = {
    pool: (cidr: string) => ({ [cidr.includes(":") ? "cidr6" : "cidr4"]: cidr }),
    grant: (cidr: string) => ({
      cidr6: "2001:db8:1::/64",
      anycast: { grants: [{ cidr, namespaces: ["shop"] }] }
    }),
    pod: (cidr: string) => ({ cidr6: "2001:db8:1::/64", anycast: { allowedCIDRs: [cidr] } }),
    import: (cidr: string) => ({ cidr6: "2001:db8:1::/64", bgp: { asn: 65001, importCIDRs: [cidr] } })
  }
  const withPeer = (address: string) => ({
    cidr6: "2001:db8:1::/64",
    bgp: { asn: 65001, peers: [{ address, asn: 65000 }] }
  })

  it.each(SPECIAL_RANGES.map((row) => [formatCidr(row.range), row] as const))(
    "%s: may be what the table of addresses says, however it is written",
    (text, { range, uses }) => {
      for (const value of [range.base, range.base + 1n, lastOf(range)].filter((value) => value <= lastOf(range))) {
        for (const spelling of spellings({ family: range.family, value })) {
          const verdict = uses.includes("peer") ? "taken" : "refused"
          assert.strictEqual(refusals(withPeer(spelling)).length === 0 ? "taken" : "refused", verdict, spelling)
          assert.strictEqual(agentProblems(withPeer(spelling)).length === 0 ? "taken" : "refused", verdict, spelling)
        }
      }
      for (const [use, specOf] of Object.entries(withPrefix)) {
        const bits = bitsOf(range.family)
        const near = (length: number) =>
          bits === 32 || length % 16 === 0 || Math.abs(length - range.prefix) < 2 || bits - length < 3
        for (const length of Array.from({ length: bits + 1 }, (_, i) => i).filter(near)) {
          for (const value of [range.base, lastOf(range)]) {
            const cidr = networkOf({ family: range.family, value }, length)
            for (const spelling of spellings({ family: cidr.family, value: cidr.base })) {
              agree(specOf(`${spelling}/${length}`))
            }
          }
        }
        const as = use === "grant" ? "pod" : use
        const inside = as !== "pool" && !uses.some((it) => it === as)
        assert.strictEqual(refusals(specOf(text)).length > 0, inside || use === "pool", `${use} ${text}`)
      }
    }
  )

  it("have rules in words, with bounds that CEL can count with", () => {
    walk(spec, "spec", (schema, path) => {
      if (!path.endsWith("[]")) assert.isAbove(schema.description?.length ?? 0, 10, `${path} has no description`)
      if (schema.type === "array" && schema.enum === undefined) assert.isDefined(schema.maxItems, `${path}: maxItems`)
      for (const { message, rule } of schema["x-kubernetes-validations"] ?? []) {
        assert.match(message, /^(must|needs|lies|overlaps|is|grants) /, path)
        if (schema.type === "string") assert.isDefined(schema.maxLength, `${path}: maxLength`)
        const [, pattern = "^$"] = /matches\(r'(.*)'\)/.exec(rule) ?? []
        assert.isTrue(pattern.startsWith("^") && (rule.startsWith("!") || pattern.endsWith("$")), path)
      }
    })
    assert.deepStrictEqual(refusals({}), ["spec: needs cidr6, cidr4 or both: without one no pod can have an address"])
  })

  it("take every example", () => {
    const folder = resolve(import.meta.dirname, "../../../manifests/examples")
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((f) => f.includes("nodeconfig"))
    assert.isAbove(files.length, 2)
    for (const file of files) {
      const documents = parseAllDocuments(readFileSync(resolve(folder, file), "utf8")).map((d) => d.toJS())
      for (const object of documents.filter(({ kind }) => kind === "NodeConfig")) {
        assert.isTrue(Result.isSuccess(NodeConfig.decode(object.metadata.name, object)), file)
        assert.isEmpty(refusals(object.spec), file)
      }
    }
  })

  it("have a column for each thing that can be wrong, a short name and a status that only its subresource writes", () => {
    const [version] = crd.spec.versions
    assert.deepStrictEqual(crd.spec.names.shortNames, ["nc"])
    assert.deepStrictEqual(version.subresources, { status: {} })
    const columns = version.additionalPrinterColumns.map((c: { readonly name: string }) => c.name)
    assert.includeMembers(columns, ["Ready", "Reason", "BIRD", "Sessions", "Age"])
    const status: Structural = version.schema.openAPIV3Schema.properties.status
    const written = {
      observedGeneration: 1,
      conditions: ["Ready", "AddressesAvailable", "BIRDReady", "BGPEstablished"].map((type) => ({
        type,
        status: "Unknown",
        reason: "R",
        message: "",
        observedGeneration: 1,
        lastTransitionTime: "2026-01-01T00:00:00Z"
      })),
      addresses: { ipv6: { used: 0, free: 1 } },
      sessions: "0/2",
      peers: [
        { address: "192.0.2.1", asn: 1, state: "Idle" },
        { address: "192.0.2.2", asn: 1, state: "Down", problem: "no Secret" },
        {
          address: "192.0.2.3",
          asn: 1,
          state: "Idle",
          lastNotification: { direction: "received", message: "Cease", at: "2026-01-01T00:00:00Z" },
          unusable: { count: 1, reason: "no way", examples: ["2001:db8:e::/48"] }
        }
      ]
    }
    assert.deepStrictEqual(problems(status, written), [])
  })
})
