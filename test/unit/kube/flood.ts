/**
 * A stand-in for the API server that sends Pod events as fast as they are taken: `node flood.ts EVENTS`. Prints its port.
 * One watch gets them all; 100 pods turn Ready and back by turns, every second event changes nothing that flock looks at.
 */
import * as http from "node:http"
import type { AddressInfo } from "node:net"

const total = Number(process.argv[2] ?? "1000")

const pod = (i: number) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: `pod-${i % 100}`,
    namespace: "default",
    uid: `uid-${i % 100}`,
    resourceVersion: String(i + 10),
    annotations: { "flock.fritzlab.net/ipv4": "false", padding: "x".repeat(1000) },
    managedFields: [{ manager: "kubelet", fieldsV1: { "f:status": { "f:conditions": { [`k:${i}`]: {} } } } }]
  },
  spec: { nodeName: "host001", containers: [{ name: "c", image: "example.org/i:1" }] },
  status: { conditions: [{ type: "Ready", status: Math.floor(i / 200) % 2 === 0 ? "False" : "True" }] }
})

const server = http.createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://localhost")
  response.setHeader("Content-Type", "application/json")
  if (!url.searchParams.has("watch")) {
    return response.end(JSON.stringify({ metadata: { resourceVersion: "9" }, items: [] }))
  }
  response.flushHeaders()
  if (url.pathname !== "/api/v1/pods") return
  let i = Math.max(0, Number(url.searchParams.get("resourceVersion")) - 9)
  const send = () => {
    while (i < total) {
      const type = i % 1000 === 999 ? "BOOKMARK" : "MODIFIED"
      if (!response.write(`${JSON.stringify({ type, object: pod(i++) })}\n`)) return response.once("drain", send)
    }
    response.write(
      `${
        JSON.stringify({
          type: "ADDED",
          object: { ...pod(i), metadata: { name: "last", resourceVersion: `${i + 10}` } }
        })
      }\n`
    )
    return
  }
  return send()
})
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port))
