import { assert, it } from "@effect/vitest"
import { once } from "node:events"
import * as http from "node:http"
import { createServer } from "node:net"
import { poolAgent } from "../../../src/kube/poolAgent.ts"

/** Once a server that answers nothing has the request, it ends the connection. */
const hangUp = async (agent: http.Agent, onError?: (error: Error) => void) => {
  const server = createServer((socket) => void socket.once("data", () => socket.end()))
  await once(server.listen(0, "127.0.0.1"), "listening")
  const address = server.address()
  const request = http.request({ host: "127.0.0.1", port: address instanceof Object ? address.port : 0, agent })
  if (onError !== undefined) request.on("error", onError)
  request.end()
  // events.once would listen to errors.
  await new Promise((resolve) => request.on("close", resolve))
  server.close()
}

it("does not end the process when the server hangs up on a request that nobody waits for", async () => {
  const uncaught: Array<unknown> = []
  const note = (error: unknown) => void uncaught.push(error)
  const before = process.listeners("uncaughtException")
  process.removeAllListeners("uncaughtException")
  process.on("uncaughtException", note)
  try {
    await hangUp(poolAgent(undefined))
    assert.deepStrictEqual(uncaught, [])
  } finally {
    process.removeListener("uncaughtException", note)
    for (const listener of before) process.on("uncaughtException", listener)
  }
})

it("tells those who wait", async () => {
  const errors: Array<string> = []
  await hangUp(poolAgent(undefined), ({ message }) => void errors.push(message))
  assert.deepStrictEqual(errors, ["socket hang up"])
})
