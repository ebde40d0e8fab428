import { defineConfig } from "vitest/config"

/**
 * `unit` is pure logic and test layers; `kernel`, `bgp` and `runtime` need root and make their own network namespaces;
 * `kube` needs the real API server. Their files run one after another: they measure and share one kernel.
 */
const project = (name: string, include: string, options: { readonly alone?: boolean; readonly timeout?: number } = {}) => ({
  extends: true as const,
  test: {
    name,
    include: [include],
    testTimeout: options.timeout ?? 10_000,
    hookTimeout: options.timeout ?? 10_000,
    ...(options.alone ? { fileParallelism: false, pool: "forks" as const } : {})
  }
})

export default defineConfig({
  test: {
    projects: [
      project("unit", "test/unit/**/*.test.ts"),
      project("cni", "test/cni/**/*.test.ts", { timeout: 120_000 }),
      project("kernel", "test/kernel/**/*.test.ts", { alone: true, timeout: 60_000 }),
      project("agent", "test/agent/**/*.test.ts", { alone: true, timeout: 120_000 }),
      project("bgp", "test/bgp/**/*.test.ts", { alone: true, timeout: 120_000 }),
      project("runtime", "test/runtime/**/*.test.ts", { alone: true, timeout: 180_000 }),
      project("kube", "test/kube/**/*.test.ts", { alone: true, timeout: 180_000 })
    ]
  }
})
