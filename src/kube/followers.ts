/**
 * How many NodeConfigs were made from a template, as a Table (meta.k8s.io/v1): of 5,000 of them a megabyte in place of twenty,
 * read row by row, and from the API server's memory.
 */
import { Effect } from "effect"
import { API_VERSION, ORPHANED_LABEL, TEMPLATE_LABEL } from "../domain/NodeConfig.ts"
import { record, records } from "../domain/record.ts"
import { ApiError } from "./access.ts"
import type { Client } from "./client.ts"

export interface Followers {
  readonly nodes: number
  /** Of the template's generation that was asked for. */
  readonly updated: number
  readonly ready: number
  /** Of the list. */
  readonly resourceVersion: string
}

/** `metadata.resourceVersion` of a NodeConfig that the list has to be as new as; `newest`; empty: any. */
export type AsNewAs = string

const versionQuery = (asNewAs: AsNewAs): Readonly<Record<string, string>> =>
  asNewAs === "newest"
    ? {}
    : asNewAs === ""
    ? { resourceVersion: "0" }
    : { resourceVersion: asNewAs, resourceVersionMatch: "NotOlderThan" }

/** Names of columns in manifests/crd.yaml. */
const COLUMNS = ["Ready", "Generation"] as const

/** Where the columns are; undefined: the CRD is an older one, without them. */
const columnsOf = (head: unknown): readonly [ready: number, generation: number] | undefined => {
  const names = records(record(head)["columnDefinitions"]).map(({ name }) => name)
  const [ready = -1, generation = -1] = COLUMNS.map((name) => names.indexOf(name))
  return ready < 0 || generation < 0 ? undefined : [ready, generation]
}

export const makeFollowers = (client: Client) =>
  Effect.fnUntraced(function*(
    template: string,
    generation: number,
    asNewAs: AsNewAs
  ): Effect.fn.Return<Followers, ApiError> {
    const tally = { nodes: 0, updated: 0, ready: 0 }
    const columns: { found?: ReturnType<typeof columnsOf> } = {}
    const rest = yield* client.list({
      verb: "list",
      resource: "nodeconfigs",
      path: `/apis/${API_VERSION}/nodeconfigs`,
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
      query: {
        labelSelector: `${TEMPLATE_LABEL}=${template},!${ORPHANED_LABEL}`,
        includeObject: "None",
        ...versionQuery(asNewAs)
      }
    }, (row, head) => {
      if (tally.nodes === 0) columns.found = columnsOf(head())
      tally.nodes++
      const { cells } = record(row)
      if (columns.found === undefined || !Array.isArray(cells)) return
      const [ready, followed] = columns.found
      if (cells[ready] === "True") tally.ready++
      if (cells[followed] === String(generation)) tally.updated++
    })
    if (tally.nodes > 0 && columns.found === undefined) {
      return yield* new ApiError({
        message: `the CRD of NodeConfig has no columns ${
          COLUMNS.join(" and ")
        }: apply manifests/crd.yaml of this version`,
        status: 0
      })
    }
    return { ...tally, resourceVersion: String(record(record(rest)["metadata"])["resourceVersion"] ?? "") }
  })
