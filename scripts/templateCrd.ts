/**
 * `templateCrd.ts`: writes manifests/crd-template.yaml from manifests/crd.yaml, so that a field of NodeConfig is one of
 * NodeConfigTemplate too. Names of fields are the API server's to refuse, values each node's agent's: in place of a value
 * there may be a reference, and a structural schema cannot say "a number or an object".
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parse, stringify } from "yaml"

/** A structural schema, as far as it is read here. */
interface Structural {
  readonly type?: string
  readonly description?: string
  readonly properties?: Readonly<Record<string, Structural>>
  readonly items?: Structural
  readonly maxItems?: number
}

/** What is written. */
interface Written {
  readonly [key: string]: unknown
  readonly properties?: Record<string, Written>
  readonly items?: Written
}

const manifests = join(import.meta.dirname, "../manifests")

/** The same fields, with any value where NodeConfig has a scalar. */
const loosened = ({ description, items = {}, maxItems, properties = {}, type }: Structural): Written => ({
  ...(type === "object" ? { type, properties: looseFields(properties) } : {}),
  ...(type === "array" ? { type, ...(maxItems === undefined ? {} : { maxItems }), items: loosened(items) } : {}),
  ...(type === "object" || type === "array" ? {} : { "x-kubernetes-preserve-unknown-fields": true }),
  ...(description === undefined ? {} : { description })
})

const looseFields = (properties: Readonly<Record<string, Structural>>): Record<string, Written> =>
  Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, loosened(schema)]))

const template = (spec: Structural): Written => {
  const fields = looseFields(spec.properties ?? {})
  const peer = fields["bgp"]?.properties?.["peers"]?.items?.properties
  if (peer === undefined) throw new Error("crd.yaml has no spec.bgp.peers")
  peer["gateway"] = {
    type: "string",
    enum: ["ipv6", "ipv4"],
    description: "In place of address: the node's default gateway of that family."
  }
  return {
    type: "object",
    description: "A NodeConfigSpec. In place of any value: { fromLabel: KEY } or { fromAnnotation: KEY } of the Node.",
    properties: {
      cidrs: {
        type: "string",
        enum: ["podCIDRs"],
        description: "In place of cidr6 and cidr4: Node.spec.podCIDRs."
      },
      ...fields
    }
  }
}

const selector = {
  type: "object",
  description: "The nodes that it is for (meta/v1 LabelSelector); {} is every node with an agent.",
  properties: {
    matchLabels: { type: "object", maxProperties: 64, additionalProperties: { type: "string", maxLength: 63 } },
    matchExpressions: {
      type: "array",
      maxItems: 64,
      items: {
        type: "object",
        required: ["key", "operator"],
        properties: {
          key: { type: "string", maxLength: 317 },
          operator: { type: "string", enum: ["In", "NotIn", "Exists", "DoesNotExist"] },
          values: { type: "array", maxItems: 64, items: { type: "string", maxLength: 63 } }
        },
        "x-kubernetes-validations": [{
          rule:
            "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
          message: "values: In and NotIn need one at least, Exists and DoesNotExist have none"
        }]
      }
    }
  }
}

const status = {
  type: "object",
  description: "What the nodes' agents found; each writes its own part.",
  properties: {
    conditions: {
      type: "array",
      description: "Halted: a node could not take the generation, and those that had not begun do not begin.",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["type"],
      items: {
        type: "object",
        required: ["type", "status", "reason", "message", "lastTransitionTime"],
        properties: {
          type: { type: "string", enum: ["Halted"] },
          status: { type: "string", enum: ["True", "False", "Unknown"] },
          reason: { type: "string" },
          message: { type: "string" },
          observedGeneration: { type: "integer", format: "int64" },
          lastTransitionTime: { type: "string", format: "date-time" }
        }
      }
    },
    failures: {
      type: "array",
      description: "Nodes that could not follow, each by its own agent.",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["node"],
      items: {
        type: "object",
        required: ["node", "generation", "reason", "message"],
        properties: {
          node: { type: "string" },
          generation: { type: "integer", format: "int64", description: "metadata.generation that it failed with." },
          reason: {
            type: "string",
            description:
              "Invalid, Rejected, RefusedByBIRD and SessionsLost halt, but for a node that had changed alone; Unresolved, Tie and Conflict do not."
          },
          message: { type: "string", maxLength: 2048 },
          resumed: { type: "boolean", description: "It failed after the generation had been resumed." },
          hash: { type: "string", maxLength: 64, description: "Of the node's spec that failed on trial." },
          alone: {
            type: "boolean",
            description: "The node's own labels, annotations or podCIDRs had changed: nobody else waits for it."
          }
        }
      }
    },
    counts: {
      type: "object",
      description: "NodeConfigs made from it, as one of the nodes' agents last counted them; absent: nobody has.",
      required: ["nodes", "updated", "ready", "observedGeneration", "resourceVersion", "at"],
      properties: {
        nodes: { type: "integer", minimum: 0 },
        updated: { type: "integer", minimum: 0, description: "Those of observedGeneration." },
        ready: { type: "integer", minimum: 0, description: "Those whose condition Ready is True." },
        observedGeneration: { type: "integer", format: "int64", description: "metadata.generation of the template." },
        resourceVersion: {
          type: "string",
          maxLength: 64,
          description: "Of the NodeConfigs that were counted: whoever changed later is not in it."
        },
        at: { type: "string", format: "date-time", description: "When they were counted." }
      },
      "x-kubernetes-validations": [{
        rule: "self.updated <= self.nodes && self.ready <= self.nodes",
        message: "updated and ready are among nodes"
      }]
    }
  }
}

const crd = (nodeConfigSpec: Structural) => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: {
    name: "nodeconfigtemplates.flock.fritzlab.net",
    labels: { "app.kubernetes.io/name": "flock" }
  },
  spec: {
    group: "flock.fritzlab.net",
    scope: "Cluster",
    names: {
      kind: "NodeConfigTemplate",
      listKind: "NodeConfigTemplateList",
      plural: "nodeconfigtemplates",
      singular: "nodeconfigtemplate",
      shortNames: ["nct"],
      categories: ["flock"]
    },
    versions: [{
      name: "v1alpha1",
      served: true,
      storage: true,
      subresources: { status: {} },
      additionalPrinterColumns: [
        { name: "Priority", type: "integer", jsonPath: ".spec.priority" },
        { name: "Nodes", type: "integer", description: "NodeConfigs made from it", jsonPath: ".status.counts.nodes" },
        {
          name: "Updated",
          type: "integer",
          description: "Those of its last generation",
          jsonPath: ".status.counts.updated"
        },
        { name: "Ready", type: "integer", jsonPath: ".status.counts.ready" },
        { name: "Halted", type: "string", jsonPath: ".status.conditions[?(@.type==\"Halted\")].status" },
        { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
        { name: "Counted", type: "date", priority: 1, jsonPath: ".status.counts.at" },
        { name: "Message", type: "string", priority: 1, jsonPath: ".status.conditions[?(@.type==\"Halted\")].message" }
      ],
      schema: {
        openAPIV3Schema: {
          type: "object",
          description:
            "NodeConfigTemplate is one object from which the agents of many nodes each write their NodeConfig.",
          required: ["spec"],
          "x-kubernetes-validations": [{
            rule: "size(self.metadata.name) <= 63",
            message: "metadata.name: 63 characters at most, for it is the value of a label of the NodeConfigs"
          }],
          properties: {
            apiVersion: { type: "string" },
            kind: { type: "string" },
            metadata: { type: "object" },
            spec: {
              type: "object",
              required: ["nodeSelector", "template"],
              properties: {
                nodeSelector: selector,
                priority: {
                  type: "integer",
                  description: "Of several that fit a node the highest wins; with a tie none does.",
                  default: 0,
                  minimum: -1000000,
                  maximum: 1000000
                },
                rollout: {
                  type: "object",
                  default: {},
                  properties: {
                    seconds: {
                      type: "integer",
                      description: "An edit reaches the nodes spread over this time.",
                      default: 300,
                      minimum: 0,
                      maximum: 86400
                    }
                  }
                },
                template: template(nodeConfigSpec)
              }
            },
            status
          }
        }
      }
    }]
  }
})

/** The text of manifests/crd-template.yaml. */
export const templateCrd = (): string => {
  const nodeConfig = parse(readFileSync(join(manifests, "crd.yaml"), "utf8"))
  const { spec } = nodeConfig.spec.versions[0].schema.openAPIV3Schema.properties
  return `# NodeConfigTemplate: many nodes' NodeConfigs from one object. Made from crd.yaml by scripts/templateCrd.ts: edit that.\n${
    stringify(crd(spec), { lineWidth: 0, aliasDuplicateObjects: false })
  }`
}

if (process.argv[1] === import.meta.filename) writeFileSync(join(manifests, "crd-template.yaml"), templateCrd())
