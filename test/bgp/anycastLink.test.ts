/** A node that loses its link without a word: the router must notice by itself. */
import { assert, describe, it } from "@effect/vitest"
import { run } from "../agent/node.ts"
import { ANYCAST6, AnycastLab } from "./anycastLab.ts"
import { now } from "./monitor.ts"

/** Cuts node 0 off and waits for the router to drop its way; the result is in milliseconds. */
const cut = async (lab: AnycastLab, seconds: number): Promise<number> => {
  const pods = [await lab.pod(0, "a", { anycast: [ANYCAST6] }), await lab.pod(1, "b", { anycast: [ANYCAST6] })]
  for (const pod of pods) pod.set({ ready: true })
  await lab.ways(ANYCAST6, 2)
  const since = now()
  // The bridge's port: the router's own interface stays up.
  await run("ip", "-n", lab.lab.router, "link", "set", "n0", "down")
  await lab.ways(ANYCAST6, 1, seconds)
  return (lab.monitor.last(ANYCAST6, since)?.at ?? Number.NaN) - since
}

describe("a node loses its link", () => {
  it("with BFD, at FRR's own defaults, the router drops it in under 1 s", async () => {
    const lab = await AnycastLab.open({ nodes: 2, bfd: true })
    try {
      await lab.bfdUp(4)
      assert.isBelow(await cut(lab, 10), 1000)
    } finally {
      await lab.close()
    }
  }, 120_000)

  it("without BFD, in hold time (9 s here)", async () => {
    const lab = await AnycastLab.open({ nodes: 2 })
    try {
      assert.isBelow(await cut(lab, 15), 9500)
    } finally {
      await lab.close()
    }
  }, 120_000)
})
