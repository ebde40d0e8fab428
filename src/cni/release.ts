/** DEL and GC: what was given is taken back. Neither needs the container's namespace, the API or a NodeConfig. */
import { Effect, Option } from "effect"
import { attachmentKey, parseAlias } from "../domain/Allocation.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { Netlink } from "../netlink/Netlink.ts"
import type { KeyedLock } from "../process/KeyedLock.ts"
import { Allocations } from "../state/Allocations.ts"
import { toFailure } from "./failure.ts"
import { type Attachment, CniFailure, Code, type NetworkConfig } from "./spec.ts"

export const makeRelease = Effect.fnUntraced(function*(lock: KeyedLock) {
  const allocations = yield* Allocations
  const ipam = yield* Ipam
  const netlink = yield* Netlink

  /** Links that carry the attachment's name though no record does: state was lost, or an ADD was cut short. */
  const linksByAlias = Effect.fnUntraced(function*(key: string) {
    const links = yield* netlink.links
    return links.filter(({ alias }) => {
      const owner = parseAlias(alias)
      return owner !== undefined && attachmentKey(owner) === key
    }).map((link) => link.ifName)
  })

  const del = Effect.fnUntraced(function*(attachment: Attachment) {
    const key = attachmentKey(attachment)
    const allocation = yield* allocations.get(key)
    const names = Option.isSome(allocation) ? [allocation.value.hostIfName] : yield* linksByAlias(key)
    // The kernel first: an address is free only once nothing answers for it.
    yield* Effect.forEach(names, netlink.detach, { concurrency: "unbounded", discard: true })
    yield* allocations.remove(key)
    yield* ipam.release(key)
    // The file stays, and the agent that it belongs to would find its addresses with another pod.
    for (const { addresses, file } of allocations.newer.filter((it) => it.key === key)) {
      yield* ipam.markInUse(file, addresses)
    }
  }, Effect.uninterruptible)

  const gc = Effect.fn("Cni.gc")(function*(config: NetworkConfig) {
    const { name, validAttachments } = config
    if (validAttachments === undefined) {
      return yield* new CniFailure({
        code: Code.INVALID_NETWORK_CONFIG,
        message: "cni.dev/valid-attachments is missing: without it GC would free every pod's address"
      })
    }
    const valid = new Set(validAttachments.map(attachmentKey))
    // Listed once, now: what is committed while GC runs is not in the runtime's list either.
    const stale = (yield* allocations.list).filter((a) => a.network === name && !valid.has(attachmentKey(a)))
    const results = yield* Effect.forEach(
      stale,
      (a) => {
        const key = attachmentKey(a)
        const unchanged = Effect.map(allocations.get(key), (now) => Option.isSome(now) && now.value === a)
        return Effect.when(del(a), unchanged).pipe(lock.withLock(key), Effect.result)
      },
      { concurrency: "unbounded" }
    )
    yield* Effect.logInfo(`GC of network ${name}: freed ${stale.length} attachments that the runtime does not know`)
    const failed = results.flatMap((result) => result._tag === "Failure" ? [toFailure(result.failure)] : [])
    if (failed[0] !== undefined) {
      return yield* new CniFailure({
        code: failed[0].code,
        message: `${failed.length} of ${stale.length} attachments could not be freed: ${failed[0].message}`
      })
    }
  })

  return { del, gc }
})
