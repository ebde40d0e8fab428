import packageJson from "../../package.json" with { type: "json" }

/** flock's version; the bundle carries it. */
export const VERSION: string = packageJson.version
