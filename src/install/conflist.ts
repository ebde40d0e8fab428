/** The network configuration that container runtimes read (CNI spec 1.1.0, section 1; libcni `conf.go`). */
import { type CniVersion, SUPPORTED_VERSIONS } from "../cni/spec.ts"

export const PLUGIN_NAME = "flock"

/** Sorts before the names that other CNIs give their files. */
export const CONFLIST_NAME = "01-flock.conflist"

/** What every runtime of Kubernetes can read. libcni before 1.2 does not know 1.1.0, and would refuse each pod's result. */
const COMMON_VERSION: CniVersion = "1.0.0"

/** What libcni loads from the folder. */
const LOADED = /\.(conf|conflist|json)$/

/** Chained after flock, in this order, where the node has them: host ports; `kubernetes.io/ingress-bandwidth` and `egress-`. */
const CHAINED = [
  { type: "portmap", capabilities: { portMappings: true } },
  { type: "bandwidth", capabilities: { bandwidth: true } }
] as const

export type ChainedType = typeof CHAINED[number]["type"]
export const CHAINED_TYPES: ReadonlyArray<ChainedType> = CHAINED.map(({ type }) => type)

/** A plugin that the runtime can find, with its answer to VERSION; undefined: it gave none. */
export interface FoundPlugin {
  readonly type: ChainedType
  readonly versions: ReadonlyArray<string> | undefined
}

export interface Conflist {
  readonly text: string
  /** What was decided against the operator's likely wish, a sentence each. */
  readonly notes: ReadonlyArray<string>
}

const upTo = (newest: CniVersion): ReadonlyArray<CniVersion> =>
  SUPPORTED_VERSIONS.slice(0, SUPPORTED_VERSIONS.indexOf(newest) + 1)

/** Of flock's versions those that the plugin knows; of one that does not answer, those of before VERSION mattered. */
const versionsOf = ({ versions }: FoundPlugin): ReadonlyArray<CniVersion> =>
  versions === undefined ? upTo(COMMON_VERSION) : SUPPORTED_VERSIONS.filter((version) => versions.includes(version))

const notesOf = (plugin: FoundPlugin): ReadonlyArray<string> => {
  if (plugin.versions === undefined) {
    return [`${plugin.type} does not answer VERSION: it is taken to support CNI ${COMMON_VERSION}`]
  }
  const newest = versionsOf(plugin).at(-1)
  if (newest === undefined) {
    return [
      `${plugin.type} is not chained: it supports CNI ${plugin.versions.join(", ") || "nothing"}, flock ${
        SUPPORTED_VERSIONS.join(", ")
      }`
    ]
  }
  return newest === SUPPORTED_VERSIONS.at(-1)
    ? []
    : [`${plugin.type} supports no CNI version after ${newest}: the runtime does not ask for STATUS and GC`]
}

/**
 * The list is of the highest version that all its plugins support. Where that is 1.1.0 it stands in `cniVersions` beside
 * `cniVersion` 1.0.0: a runtime with libcni 1.2 or newer takes the highest it knows, an older one reads `cniVersion` alone.
 * A plugin that shares no version with flock is left out, for with it every pod would fail.
 */
export const makeConflist = (found: ReadonlyArray<FoundPlugin>): Conflist => {
  const usable = found.filter((plugin) => versionsOf(plugin).length > 0)
  const common = SUPPORTED_VERSIONS.filter((version) => usable.every((plugin) => versionsOf(plugin).includes(version)))
  // Two plugins without a common version: neither is worth more than the other, and flock works alone.
  const chained = common.length > 0 ? usable : []
  const versions = common.length > 0 ? common : SUPPORTED_VERSIONS
  const oldRuntimes = versions.filter((version) => upTo(COMMON_VERSION).includes(version)).at(-1)
  const list = {
    cniVersion: oldRuntimes ?? versions.at(-1),
    ...(versions.at(-1) === oldRuntimes || oldRuntimes === undefined
      ? {}
      : { cniVersions: [oldRuntimes, versions.at(-1)] }),
    name: "flock",
    plugins: [
      { type: PLUGIN_NAME },
      ...CHAINED.filter(({ type }) => chained.some((plugin) => plugin.type === type))
    ]
  }
  return {
    text: `${JSON.stringify(list, undefined, 2)}\n`,
    notes: [
      ...found.flatMap(notesOf),
      ...(common.length > 0
        ? []
        : [`${usable.map(({ type }) => type).join(" and ")} share no CNI version: none is chained`])
    ]
  }
}

/** Names of the folder's network configurations that are not flock's, in the order runtimes read them. */
export const otherNetworks = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.filter((name) => LOADED.test(name) && name !== CONFLIST_NAME).toSorted()

/** Those of them that a runtime takes in flock's place: it uses the first of the folder. */
export const networksBefore = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  otherNetworks(names).filter((name) => name < CONFLIST_NAME)
