/** A node that loses its link without a word: the router must notice by itself. */
import { assert, describe, it } from "@effect/vitest"
import { run } from "../../lab/exec.ts"
import { ANYCAST6, Network } from "../../lab/Network.ts"
import { now } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

/** Cuts node 0 off and waits for the router to drop its way; the result is in milliseconds. */
const cut = async (lab: Network, seconds: number): Promise<number> => {
  const pods = [await lab.pod(0, "a", { anycast: [ANYCAST6] }), await lab.pod(1, "b", { anycast: [ANYCAST6] })]
  for (const pod of pods) pod.set({ ready: true })
  await lab.ways(ANYCAST6, 2)
  const since = now()
  // The bridge's port: the router's own interface stays up.
  await run("ip", "-n", lab.lan.router, "link", "set", "n0", "down")
  await lab.ways(ANYCAST6, 1, seconds)
  return (lab.monitor.last(ANYCAST6, since)?.at ?? Number.NaN) - since
}

describe("a node loses its link", () => {
  it("with BFD, at FRR's own defaults, the router drops it in under 1 s", async () => {
    await using world = new World()
    const lab = await Network.open(world, { nodes: 2, bfd: true })
    await lab.lan.bfdUp(4)
    assert.isBelow(await cut(lab, 10), 1000)
  }, 120_000)

  it("without BFD, in hold time (9 s here)", async () => {
    await using world = new World()
    const lab = await Network.open(world, { nodes: 2 })
    assert.isBelow(await cut(lab, 15), 9500)
  }, 120_000)
})
