/** What the DaemonSet's container of BIRD runs, with its files in `directory`. */
import { readFileSync } from "node:fs"
import { parse } from "yaml"

interface Container {
  readonly name: string
  readonly command: ReadonlyArray<string>
}

export const sidecar = (directory: string): ReadonlyArray<string> => {
  const daemonSet = parse(readFileSync(new URL("../manifests/daemonset.yaml", import.meta.url), "utf8"))
  const containers: ReadonlyArray<Container> = daemonSet.spec.template.spec.containers
  const bird = containers.find(({ name }) => name === "bird")
  if (bird === undefined) throw new Error("manifests/daemonset.yaml has no container bird")
  return bird.command.map((word) => word.replaceAll("/run/flock/bird", directory))
}
