/** nf_tables of the node's namespace as dumps and transactions. Its sockets are opened at first use. */
import { Duration, Effect, Scope } from "effect"
import { errnoName, type Message } from "../netlink/codec.ts"
import type { Namespaces } from "../netlink/namespace.ts"
import { DumpSocket, RequestSocket } from "../netlink/socket.ts"
import { failed, FirewallError } from "./errors.ts"
import * as N from "./nft.ts"

export const make = Effect.fnUntraced(function*(namespaces: Pick<Namespaces, "host" | "visit">) {
  const scope = yield* Effect.scope
  const open = () => {
    const requests = new RequestSocket(0, N.NETLINK_NETFILTER)
    try {
      return { requests, dumps: new DumpSocket(N.NETLINK_NETFILTER) }
    } catch (error) {
      requests.close()
      throw error
    }
  }
  const [opened, forget] = yield* Effect.cachedInvalidateWithTTL(
    Effect.acquireRelease(
      Effect.try({ try: () => namespaces.visit(namespaces.host, open), catch: failed("open nf_tables") }),
      ({ dumps, requests }) =>
        Effect.sync(() => {
          requests.close()
          dumps.close()
        })
    ).pipe(Effect.provideService(Scope.Scope, scope)),
    Duration.infinity
  )
  // A module may be loaded later, and descriptors that have run out are free again.
  const sockets = Effect.tapError(opened, () => forget)

  /** What is not there is an empty list. */
  const dump = Effect.fnUntraced(function*(op: string, request: Message) {
    const { dumps } = yield* sockets
    return yield* dumps.dump(op, request).pipe(
      Effect.catchIf((error) => error.errno === "ENOENT", () => Effect.succeed([])),
      Effect.mapError((error) => new FirewallError({ op, errno: error.errno }))
    )
  })

  /** All of it or nothing; `fine` is an errno that is success. The kernel acknowledges each message, the ends only lately. */
  const commit = Effect.fnUntraced(function*(op: string, messages: ReadonlyArray<Message>, fine?: number) {
    if (messages.length === 0) return
    const { requests } = yield* sockets
    const replies = yield* requests.request(N.batch(messages))
    const first = replies.slice(1, -1).find(({ ack }) => ack.code !== 0 && ack.code !== fine)
    if (first !== undefined) return yield* new FirewallError({ op, errno: errnoName(first.ack.code) })
  })

  return { dump, commit }
})
