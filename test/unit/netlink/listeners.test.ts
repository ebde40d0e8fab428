import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createServer } from "node:net"
import { parseListeners, portOwners, portOwnerWords } from "../../../src/netlink/listeners.ts"

describe("who listens", () => {
  it("finds what listens, and nothing else", () => {
    const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 020200C0:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0
   2: 020200C0:00B3 010200C0:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
`
    assert.deepStrictEqual(parseListeners(tcp), [
      { address: "127.0.0.1", port: 8888, inode: "1" },
      { address: "192.0.2.2", port: 179, inode: "7" }
    ])
    const tcp6 = `  sl  local_address                         remote_address                        st tx_queue
   0: B80D0120010000000000000002000000:00B3 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
`
    assert.deepStrictEqual(parseListeners(tcp6), [
      { address: "2001:db8:0:1::2", port: 179, inode: "" },
      { address: "::", port: 80, inode: "" }
    ])
    assert.deepStrictEqual(parseListeners(""), [])
    assert.deepStrictEqual(parseListeners("head\n garbage : : :\n"), [])
  })

  it.live("is named by process, and nobody is nobody", () =>
    Effect.gen(function*() {
      const server = createServer()
      const port = yield* Effect.callback<number>((done) => {
        server.listen(0, "127.0.0.1", () => done(Effect.succeed((server.address() as { readonly port: number }).port)))
      })
      const owners = yield* portOwners("/proc", port)
      assert.include(owners.map(({ pid }) => pid), process.pid)
      assert.include(yield* portOwnerWords("/proc", port), `(process ${process.pid})`)
      yield* Effect.callback<void>((done) => void server.close(() => done(Effect.void)))
      assert.isUndefined(yield* portOwnerWords("/proc", port))
    }).pipe(Effect.provide(NodeServices.layer)))
})
