/**
 * `npm run conformance -- [--focus REGEX] [--write]`: Kubernetes' own network tests on a cluster of two nodes with flock, as
 * the README installs it. `--write`: the result goes into docs/conformance.md.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { clusterAvailable } from "../../lab/Cluster.ts"
import { run } from "../../lab/exec.ts"
import { version } from "../../lab/site.ts"
import { bringUp } from "../cluster/bringUp.ts"
import { makeImage } from "./image.ts"
import { markdown, parseJUnit } from "./report.ts"

/** Conformance of the network, and what else of it a CNI decides: both families, host ports, affinity, traffic policies. */
const FOCUS = [
  String.raw`\[sig-network\].*\[Conformance\]`,
  String.raw`\[sig-network\].*(IPv6DualStack|DualStack|HostPort|session affinity|TrafficPolicy|traffic policy)`
].join("|")
/** For Go's regexp. What needs what is not here: a cloud's load balancer, another proxy mode, a feature that is off, the Internet. */
const SKIP = [
  String.raw`\[Disruptive\]|\[Serial\]|\[Slow\]|LoadBalancer|NetworkPolicy`,
  String.raw`\[Feature:[A-HJ-Z]|\[Feature:In|\[FeatureGate`
].join("|")

const { values } = parseArgs({
  options: {
    focus: { type: "string", default: FOCUS },
    skip: { type: "string", default: SKIP },
    write: { type: "boolean", default: false }
  }
})

if (!clusterAvailable) {
  console.error("conformance: there is no ../shared/kube/cluster: set FLOCK_KUBE_DIR to its folder")
  process.exit(1)
}
const kube = process.env["FLOCK_KUBE_DIR"] ?? resolve(import.meta.dirname, "../../../shared/kube")
const [cluster, close] = await bringUp()
try {
  const bin = (await run(join(kube, "kube-bin"), "agnhost", "e2e.test", "coredns")).trim()
  await cluster.command("load", await makeImage(cluster.place.directory, bin))
  await cluster.command("dns")
  console.error("conformance: running; a dot is nothing that it prints")
  const { code, stderr, stdout } = await cluster.try("e2e", [values.focus, values.skip])
  if (code !== 0) console.error(`${stdout}\n${stderr}`.slice(-8000))
  const results = globSync(join(cluster.place.directory, "e2e/junit*.xml")).flatMap((file) =>
    parseJUnit(readFileSync(file, "utf8"))
  )
  const failed = results.filter(({ outcome }) => outcome === "failed")
  for (const { detail, name } of failed) console.log(`failed: ${name}: ${detail}`)
  console.log(`${results.length - failed.length} passed, ${failed.length} failed`)
  if (values.write) {
    const kubelet = (await cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}"))
      .trim()
    const runtime = (await cluster.kubectl(
      "get",
      "nodes",
      "-o",
      "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}"
    )).trim()
    writeFileSync(
      resolve(import.meta.dirname, "../../docs/conformance.md"),
      markdown(results, {
        date: new Date().toISOString().slice(0, 10),
        command: "npm run conformance -- --write",
        versions:
          `flock ${version()}, Kubernetes ${kubelet}, ${runtime}, kube-proxy nftables, two nodes, FRR as the router`
      })
    )
  }
  process.exitCode = code === 0 && results.length > 0 ? 0 : 1
} finally {
  await close()
}
