// Opens connections to HOST PORT as fast as it can for SECONDS, asks for /metrics many times on each, and prints how many.
import { connect } from "node:net"
const [host, port, seconds] = process.argv.slice(2)
const end = performance.now() + Number(seconds) * 1000
const asked = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200)
let opened = 0
const open = () => {
  if (performance.now() > end) return
  let over = false
  const again = () => {
    if (over) return
    over = true
    setImmediate(open)
  }
  const socket = connect(Number(port), host, () => {
    opened++
    socket.write(asked)
  })
  socket.on("error", again).on("close", again).resume()
}
for (let i = 0; i < 200; i++) open()
setTimeout(() => {
  console.log(opened)
  process.exit(0)
}, Number(seconds) * 1000 + 200)
