/** An attached pod passes packets at once, whichever end of its link comes up last. */
import { describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { attach } from "../../src/netlink/attach.ts"
import { Detacher } from "../../src/netlink/detach.ts"
import { Namespaces, SysctlFolder } from "../../src/netlink/namespace.ts"
import { RequestSocket } from "../../src/netlink/socket.ts"
import { linkName, makeLab, ping, planOf } from "./lab.ts"

const AWHILE = Effect.sleep("20 millis")

describe("packets right after attach", () => {
  it.live.each([["the pod's", AWHILE, Effect.void], ["the host's", Effect.void, AWHILE]] as const)(
    "when %s end is the last to come up",
    ([, beforePod, beforeHost]) =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const namespaces = yield* Effect.acquireRelease(
          Effect.sync(() => new Namespaces(`/run/netns/${host}`)),
          (open) => Effect.sync(() => open.close())
        )
        const inHost = <A extends { readonly close: () => void }>(open: () => A) =>
          Effect.acquireRelease(
            Effect.sync(() => namespaces.visit(namespaces.host, open)),
            (socket) => Effect.sync(() => socket.close())
          )
        const detacher = yield* inHost(() => new Detacher())
        const attachLate = attach({
          namespaces,
          host: yield* inHost(() => new RequestSocket()),
          conf: yield* inHost(() => new SysctlFolder("ipv6/conf")),
          podLane: (effect) => Effect.andThen(beforePod, effect),
          remove: detacher.detach
        })
        // The kernel's worker that opens a link whose carrier has come waits for the lock that these hold.
        const busy = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 12 }, (_, i) => planOf(pod(), 20 + i)),
            (plan) => Effect.forever(Effect.andThen(netlink.attach(plan), netlink.detach(plan.hostIfName))),
            { concurrency: "unbounded" }
          )
        )
        const name = pod()
        for (let i = 0; i < 20; i++) {
          yield* attachLate(planOf(name, 5), beforeHost)
          ping(host, "10.42.1.5")
          yield* detacher.detach(linkName(5))
        }
        yield* Fiber.interrupt(busy)
      }).pipe(Effect.scoped)
  )
})
