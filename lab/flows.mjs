// UDP flows through the lab. `echo PORT` answers every datagram; `send PORT FLOWS MS ADDRESS…` sends on FLOWS sockets per
// address, each every MS milliseconds. At SIGTERM both print what they saw, as JSON: flow → received numbers as hex bits.
import { createSocket } from "node:dgram"

const [role, port, ...rest] = process.argv.slice(2)
/** flow → [bytes of bits, sent] */
const seen = new Map()
const mark = (bits, number) => {
  const at = number >> 3
  if (at < bits.length) bits[at] |= 1 << (number & 7)
}
const bitsOf = (flow) => {
  if (!seen.has(flow)) seen.set(flow, { sent: 0, bits: Buffer.alloc(8192) })
  return seen.get(flow)
}
const report = () =>
  JSON.stringify(
    Object.fromEntries([...seen].map(([flow, { bits, sent }]) => [flow, { sent, bits: bits.toString("hex") }]))
  )

const timers = []
if (role === "echo") {
  const socket = createSocket({ type: "udp6", recvBufferSize: 1 << 20 })
  socket.on("message", (message, { address, port: from }) => {
    mark(bitsOf(message.toString("latin1", 4)).bits, message.readUInt32BE(0))
    socket.send(message, from, address, () => undefined)
  })
  socket.bind(Number(port), "::", () => console.log("ready"))
} else {
  const [flows, interval, ...addresses] = rest
  const all = addresses.flatMap((address) =>
    Array.from({ length: Number(flows) }, (_, i) => ({ address, flow: `${address} ${i}` }))
  )
  const sockets = all.map(({ address, flow }) => {
    const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4", recvBufferSize: 1 << 20 })
    const state = bitsOf(flow)
    socket.on("message", (message) => mark(state.bits, message.readUInt32BE(0)))
    socket.on("error", () => undefined)
    return () => {
      const message = Buffer.alloc(4 + flow.length)
      message.writeUInt32BE(state.sent++, 0)
      message.write(flow, 4, "latin1")
      socket.send(message, Number(port), address, () => undefined)
    }
  })
  timers.push(setInterval(() => sockets.forEach((send) => send()), Number(interval)))
  console.log("ready")
}
process.on("SIGTERM", () => {
  timers.forEach(clearInterval)
  // What is on its way still counts.
  setTimeout(() => process.stdout.write(report(), () => process.exit(0)), role === "echo" ? 0 : 1000)
})
