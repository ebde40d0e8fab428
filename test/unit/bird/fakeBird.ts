/** A control socket whose answers a spec decides: each received line is handed to `answer`. */
import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer, type Server, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

export interface FakeBird {
  readonly socketPath: string
  readonly directory: string
  /** Commands received so far. */
  readonly commands: ReadonlyArray<string>
  /** Connections accepted so far. */
  readonly connections: () => number
  readonly closeAll: () => void
  /** Resolves when a command that `matches` has come in. */
  readonly received: (matches: (line: string) => boolean) => Effect.Effect<void>
}

export type Answer = (line: string, socket: Socket) => string | undefined

export const fakeBird = (
  answer: Answer,
  greeting: (socket: Socket) => void = (socket) => void socket.write("0001 BIRD 2.0.12 ready.\n")
): Effect.Effect<FakeBird, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<FakeBird & { readonly server: Server }>((resume) => {
      const directory = mkdtempSync(join(tmpdir(), "flock-fake-bird-"))
      const socketPath = join(directory, "bird.ctl")
      const commands: Array<string> = []
      const sockets = new Set<Socket>()
      const waiters = new Set<() => void>()
      let connections = 0
      const server = createServer((socket) => {
        connections++
        sockets.add(socket)
        socket.on("error", () => undefined)
        socket.on("close", () => sockets.delete(socket))
        greeting(socket)
        let rest = ""
        socket.on("data", (chunk) => {
          const lines = (rest + chunk.toString()).split("\n")
          rest = lines.pop() ?? ""
          for (const line of lines) {
            commands.push(line)
            const reply = answer(line, socket)
            if (reply !== undefined) socket.write(reply)
            for (const waiter of waiters) waiter()
          }
        })
      })
      const closeAll = () => sockets.forEach((socket) => socket.destroy())
      const received = (matches: (line: string) => boolean) =>
        Effect.callback<void>((done) => {
          const check = () => {
            if (!commands.some(matches)) return
            waiters.delete(check)
            done(Effect.void)
          }
          waiters.add(check)
          check()
        })
      server.listen(socketPath, () =>
        resume(Effect.succeed({
          server,
          socketPath,
          directory,
          commands,
          connections: () => connections,
          closeAll,
          received
        })))
    }),
    ({ closeAll, directory, server }) =>
      Effect.callback<void>((resume) => {
        closeAll()
        server.close(() => {
          rmSync(directory, { recursive: true, force: true })
          resume(Effect.void)
        })
      })
  )
