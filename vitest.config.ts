import { defineConfig } from "vitest/config"

// BIRD, FRR's tools and sysctl live in sbin, which a login without root's profile has not in PATH.
process.env["PATH"] = `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`

/**
 * `unit` is pure logic and test layers; `cni` drives the built plugin; `kernel`, `agent`, `bgp` and `runtime` need root
 * and make their own network namespaces; `kube` needs the real API server;
 * `cluster` and `fleet` each bring up a whole cluster; `soak` is a short run of `npm run soak`. The latter's files run one after another:
 * they measure and share one kernel.
 */
const project = (
  name: string,
  options: { readonly alone?: boolean; readonly timeout?: number; readonly globalSetup?: string } = {}
) => ({
  extends: true as const,
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: options.timeout ?? 10_000,
    hookTimeout: options.timeout ?? 10_000,
    ...(options.globalSetup === undefined ? {} : { globalSetup: options.globalSetup }),
    ...(options.alone ? { fileParallelism: false, retry: SECOND_TRY } : {})
  }
})

/**
 * A wait for another daemon, a kernel or a clock that took too long (lab/until.ts) is tried once more in .ci/run, which lists
 * it with its first error; nowhere else, and nothing that was found to be otherwise than it should: a lost packet fails at once.
 */
const SECOND_TRY = { count: process.env["FLOCK_TEST_REPORT"] ? 1 : 0, condition: /: not within \d+ s/ }

/** .ci/run counts what ours says; people read the default one. */
const reporters = process.env["FLOCK_TEST_REPORT"] ? ["./scripts/testReport.mjs", "default"] : ["default"]

export default defineConfig({
  test: {
    pool: "forks",
    teardownTimeout: 20_000,
    setupFiles: ["test/versions.ts"],
    reporters,
    projects: [
      project("unit", { timeout: 30_000 }),
      project("cni", { timeout: 120_000 }),
      project("kernel", { alone: true, timeout: 60_000 }),
      project("agent", { alone: true, timeout: 120_000 }),
      project("bgp", { alone: true, timeout: 120_000 }),
      project("runtime", { alone: true, timeout: 180_000 }),
      project("soak", { alone: true, timeout: 300_000 }),
      project("kube", { alone: true, timeout: 180_000 }),
      project("fleet", { alone: true, timeout: 300_000 }),
      project("cluster", { alone: true, timeout: 120_000, globalSetup: "test/cluster/setUp.ts" })
    ]
  }
})
