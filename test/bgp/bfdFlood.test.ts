/** Packets that are no BFD at all, as any host of the network may send them, do not fill BIRD's log. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, it } from "vitest"
import { startBird } from "../../lab/bird.ts"
import { inside, ip } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { NOTHING_KEPT } from "../../src/bird/kept.ts"
import { renderConfig } from "../../src/bird/render.ts"
import { address } from "../../src/domain/Ip.ts"
import { nodeConfig } from "../unit/fixtures.ts"

const world = new World()
afterAll(() => world.close())

const FLOOD = `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
end = time.time() + 2
while time.time() < end:
    for port in (3784, 4784): s.sendto(b"junk" * 6, ("192.0.2.2", port))
`

it("a flood of bad packets leaves the log as long as it was", async () => {
  const netns = world.netns("node")
  await ip(netns, "link", "set", "lo", "up")
  await ip(netns, "link", "add", "up0", "type", "bridge")
  await ip(netns, "addr", "add", "192.0.2.2/24", "dev", "up0")
  await ip(netns, "link", "set", "up0", "up")
  const directory = world.folder("bird")
  const peers = [{ address: "192.0.2.1", asn: 65000, bfd: true }]
  const { text } = renderConfig({
    nodeName: "n1",
    config: nodeConfig({ cidr4: "10.42.1.0/24", bgp: { asn: 65001, peers } }),
    interfaces: [{
      ifName: "up0",
      ifIndex: 2,
      mtu: 1500,
      up: true,
      addresses: [{ address: address("192.0.2.2"), prefix: 24, standing: "permanent" }]
    }],
    outgoing: new Map(),
    kept: NOTHING_KEPT,
    established: new Set(),
    ends: new Map(),
    routers: [],
    found: new Map(),
    passwords: new Map(),
    exportSet: [],
    ceiling: 10,
    drained: false,
    leaving: false
  })
  assert.include(text, "protocol bfd")
  writeFileSync(join(directory, "bird.conf"), text)
  await startBird(world, netns, directory)
  const log = () => readFileSync(join(directory, "bird.log"), "utf8")
  await until("BFD listens", async () => (await inside(netns, "ss", "-lunH")).includes(":3784"), 5)
  const before = log().length
  await inside(netns, "python3", "-c", FLOOD)
  assert.isBelow(log().length - before, 2000)
})
