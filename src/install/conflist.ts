/** The network configuration that container runtimes read (CNI spec 1.0.0, section 1; libcni `conf.go`). */

export const PLUGIN_NAME = "flock"

/** Sorts before the names that other CNIs give their files. */
export const CONFLIST_NAME = "01-flock.conflist"

/** 1.0.0: a runtime whose libcni is older than 1.1 refuses a list of that version as a whole. */
const CNI_VERSION = "1.0.0"

/** What libcni loads from the folder. */
const LOADED = /\.(conf|conflist|json)$/

/** The text of the conflist. `portmap`: whether the runtime can find that plugin; a list that names a missing one fails. */
export const conflist = (options: { readonly portmap: boolean }): string =>
  `${
    JSON.stringify(
      {
        cniVersion: CNI_VERSION,
        name: "flock",
        plugins: [
          { type: PLUGIN_NAME },
          ...(options.portmap ? [{ type: "portmap", capabilities: { portMappings: true } }] : [])
        ]
      },
      undefined,
      2
    )
  }\n`

/** Names of the folder's network configurations that are not flock's, in the order runtimes read them. */
export const otherNetworks = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.filter((name) => LOADED.test(name) && name !== CONFLIST_NAME).toSorted()

/** Those of them that a runtime takes in flock's place: it uses the first of the folder. */
export const networksBefore = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  otherNetworks(names).filter((name) => name < CONFLIST_NAME)
