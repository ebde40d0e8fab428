// Listens on 127.0.0.1 where it runs (a network namespace) and connects each caller to a unix socket: relay.mjs PATH
import net from "node:net"

const server = net.createServer((from) => {
  const to = net.connect(process.argv[2])
  from.on("error", () => to.destroy()).on("close", () => to.destroy()).pipe(to)
  to.on("error", () => from.destroy()).on("close", () => from.destroy()).pipe(from)
})
server.listen(0, "127.0.0.1", () => console.log(server.address().port))
