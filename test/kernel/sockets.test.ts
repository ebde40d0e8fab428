/** Sockets that are closed while others still use them: the process goes on, and nobody's descriptor is touched. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { execFileSync } from "node:child_process"
import { closeSync, fstatSync, openSync } from "node:fs"
import { Detacher } from "../../src/netlink/detach.ts"
import { layer } from "../../src/netlink/layer.ts"
import { openRouteSocket, SystemCallError, watchReadable } from "../../src/netlink/libc.ts"
import { Namespaces } from "../../src/netlink/namespace.ts"
import { Netlink } from "../../src/netlink/Netlink.ts"
import { dumpLinks, getLink } from "../../src/netlink/requests.ts"
import { DumpSocket, RequestSocket } from "../../src/netlink/socket.ts"
import { ip, linkName, planOf, scopedWorld } from "./lab.ts"

/** A descriptor with the number of one that was just closed: the lowest free one is given. */
const reuse = (closed: number): number => {
  const fd = openSync("/dev/null", "r")
  assert.isAtMost(fd, closed)
  if (fd === closed) return fd
  const found = reuse(closed)
  closeSync(fd)
  return found
}

/** Opened in a namespace of its own. */
const inWorld = <A>(open: () => A) =>
  Effect.map(scopedWorld, (world) => {
    const namespaces = new Namespaces(`/run/netns/${world.netns("node")}`)
    const opened = namespaces.visit(namespaces.host, open)
    namespaces.close()
    return opened
  })

describe("a socket that is closed", () => {
  it.live("refuses requests and leaves alone what has its number since", () =>
    Effect.gen(function*() {
      const socket = yield* inWorld(() => new RequestSocket())
      const running = yield* Effect.forkChild(
        Effect.all(Array.from({ length: 12 }, () => socket.request([getLink(1)])), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      socket.close()
      socket.close()
      const replies = (yield* Fiber.join(running)).flat()
      const codes = replies.map(({ ack }) => ack.code)
      assert.includeMembers([0, 9], codes)
      assert.include(codes, 9, "what waited is refused with EBADF")
      const other = reuse(socket.fd)
      const [late] = yield* socket.request([getLink(1)])
      assert.strictEqual(late?.ack.code, 9)
      assert.isTrue(fstatSync(other).isCharacterDevice())
      closeSync(other)
    }))

  it.live("refuses dumps, and does not close another's descriptor after one", () =>
    Effect.gen(function*() {
      const { number, socket } = yield* inWorld(() => {
        const probe = openSync("/dev/null", "r")
        closeSync(probe)
        return { number: probe, socket: new DumpSocket() }
      })
      socket.close()
      const other = reuse(number)
      const failed = yield* Effect.flip(socket.dump("list links", dumpLinks))
      assert.strictEqual(failed.errno, "EBADF")
      assert.isTrue(fstatSync(other).isCharacterDevice())
      closeSync(other)
    }))

  it.live("of removals: what waits is refused, what is under way is finished", () =>
    Effect.gen(function*() {
      const detacher = yield* inWorld(() => new Detacher())
      const running = yield* Effect.forEach(
        [1, 2, 3],
        (n) => Effect.forkChild(Effect.result(detacher.detach(linkName(n))), { startImmediately: true })
      )
      detacher.close()
      detacher.close()
      const outcomes = yield* Effect.forEach(running, (fiber) => Fiber.join(fiber))
      assert.strictEqual(outcomes[0]?._tag, "Success")
      assert.deepStrictEqual(
        outcomes.slice(1).map((outcome) => outcome._tag === "Failure" ? outcome.failure.errno : outcome._tag),
        ["EBADF", "EBADF"]
      )
      assert.strictEqual((yield* Effect.flip(detacher.detach(linkName(1)))).errno, "EBADF")
    }))
})

describe("a descriptor that cannot be watched", () => {
  it("is an error, not the end of the process", () => {
    const fd = openRouteSocket(1, 1 << 16)
    const watch = watchReadable(fd, () => undefined)
    assert.throws(() => watchReadable(fd, () => undefined), SystemCallError, "EEXIST")
    watch.close()
    watch.close()
    watchReadable(fd, () => undefined).close()
    closeSync(fd)
    assert.throws(() => watchReadable(fd, () => undefined), "EBADF")
  })

  it.live("what its callback throws is nobody else's", () =>
    Effect.gen(function*() {
      const { tag } = yield* scopedWorld
      // In a process of its own: there, nobody but the test catches what is thrown.
      const script = `
        import { spawnSync } from "node:child_process"
        import { openRouteSocket, sendAsync, watchReadable } from "${import.meta.dirname}/../../src/netlink/libc.ts"
        process.on("uncaughtException", ({ message }) => console.log("uncaught: " + message))
        const watch = watchReadable(openRouteSocket(1, 1 << 16), () => {
          watch.close()
          throw new Error("of the callback")
        })
        spawnSync("ip", ["link", "add", "type", "veth"])
        setTimeout(() => sendAsync(openRouteSocket(0, 1 << 16), new Uint8Array(16), (errno) => console.log("sent: " + errno)), 200)`
      const output = execFileSync(
        "unshare",
        ["--net", process.execPath, "--input-type=module-typescript", "-e", script],
        { encoding: "utf8", env: { ...process.env, LAB_WORLD: tag } }
      )
      assert.deepStrictEqual(output.trim().split("\n"), ["uncaught: of the callback", "sent: 0"])
    }))
})

describe("a layer that closes in the middle", () => {
  it.live("waits for the attachments under way, and begins none: none is half made, and the process goes on", () =>
    Effect.gen(function*() {
      const world = yield* scopedWorld
      const host = world.netns("node")
      ip(host, "link", "set", "lo", "up")
      const pods = Array.from({ length: 8 }, () => world.netns("pod"))
      for (let round = 0; round < 6; round++) {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(layer({ netns: `/run/netns/${host}` }), scope)
        const netlink = yield* Netlink.pipe(Effect.provideContext(context))
        const attached = yield* Effect.forEach(
          pods,
          (pod, i) => Effect.forkDetach(Effect.result(netlink.attach(planOf(pod, 5 + i))), { startImmediately: true })
        )
        yield* Effect.sleep(`${round} millis`)
        yield* Scope.close(scope, Exit.void)
        const results = yield* Effect.forEach(attached, (fiber) => Fiber.join(fiber))
        const links = ip(host, "-o", "link").split("\n").filter((line) => line.includes("flock"))
        assert.strictEqual(links.length, results.filter(({ _tag }) => _tag === "Success").length, links.join("\n"))
        for (const result of results) {
          if (result._tag === "Failure") assert.match(result.failure.message, /EBADF/)
        }
        const late = yield* Effect.flip(netlink.attach(planOf(pods[0] ?? "", 5)))
        assert.match(late.message, /^create veth flock00000005: EBADF/)
        for (const line of links) ip(host, "link", "del", /flock[0-9a-f]{8}/.exec(line)?.[0] ?? "")
      }
    }))

  it("no namespace is entered without a way back", () => {
    const namespaces = new Namespaces()
    namespaces.close()
    namespaces.close()
    assert.throws(() => namespaces.visit(namespaces.host, () => undefined), SystemCallError, "EBADF")
  })
})
