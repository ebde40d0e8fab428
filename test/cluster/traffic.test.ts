/** Pods of every kind on a whole cluster, by traffic. */
import { assert, it } from "@effect/vitest"
import { ping } from "../../lab/ping.ts"
import { execIn as execInFlock } from "../../lab/site.ts"
import { until } from "../../lab/until.ts"
import {
  addressesOf,
  fetchCommand,
  fetchFrom,
  fetchIn,
  onCluster,
  onNode,
  pod,
  podsOf,
  readyPods,
  service,
  shellIn,
  workload
} from "./fixture.ts"

const ANYCAST = ["2001:db8:a::80", "198.18.53.80"] as const

onCluster("pods of every kind", ({ client, cluster }) => {
  it("lets pods of both nodes and the client behind the router talk, in both families", async () => {
    await cluster.apply(pod("one", { spec: onNode(1) }), pod("two", { spec: onNode(2) }))
    const [one] = await readyPods(cluster, "one", 1)
    const [two] = await readyPods(cluster, "two", 1)
    assert.lengthOf(addressesOf(one), 2)
    for (const address of addressesOf(two)) {
      assert.strictEqual((await ping(client, address, 5)).received, 5, address)
      assert.strictEqual(await fetchFrom(client, address), "two")
      assert.strictEqual(await fetchIn(cluster, "one", address), "two")
    }
  })

  it("announces an anycast address from every node that has a Ready pod with it", async () => {
    const annotations = { "flock.fritzlab.net/anycast": ANYCAST.join(",") }
    await cluster.apply(workload("Deployment", "anycast", { replicas: 4 }, { annotations }))
    const found = await readyPods(cluster, "anycast", 4)
    const names = new Set(found.map(({ metadata }) => metadata.name))
    for (const address of ANYCAST) {
      await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false))
      assert.isTrue(names.has(await fetchFrom(client, address)), address)
      assert.strictEqual((await ping(client, address, 20)).received, 20, address)
    }
  })

  it("answers doctor, status and why by kubectl exec, and its liveness probe", async () => {
    const [{ spec }] = await podsOf(cluster, "anycast")
    const i = Number(spec.nodeName.replace("node", ""))
    const commands = [["flock-agent", "doctor"], ["flock-agent", "status"], ["flock-cni", "alive"]]
    for (const command of commands) {
      const { code, stderr, stdout } = await execInFlock(cluster, i, "agent", ...command)
      assert.strictEqual(code, 0, `node${i}: ${command.join(" ")}: ${stdout}${stderr}`)
    }
    const why = await execInFlock(cluster, i, "agent", "flock-agent", "why", ANYCAST[0])
    assert.match(why.stdout, /^2001:db8:a::80 is announced: /)
    const bird = await execInFlock(cluster, 1, "bird", "birdc", "-s", "/run/flock/bird/bird.ctl", "show", "protocols")
    assert.match(bird.stdout, /Established/)
  })

  it("serves Services of both families by kube-proxy (nftables), cluster IPs and node ports", async () => {
    await cluster.apply(
      workload("Deployment", "web", { replicas: 2 }),
      service("web", { type: "NodePort", ports: [{ port: 80, nodePort: 30080 }] })
    )
    await readyPods(cluster, "web", 2)
    const { spec } = await cluster.get("service", "web")
    assert.lengthOf(spec.clusterIPs, 2)
    for (const address of spec.clusterIPs) {
      assert.match(await until(`${address} answers`, () => fetchIn(cluster, "one", address)), /^web-/)
    }
    assert.match(await until("the node port answers", () => fetchFrom(client, "203.0.113.6", 30080)), /^web-/)
  })

  it("resolves names by a DNS server that is a pod, behind a Service", async () => {
    await cluster.command("dns")
    const { spec } = await cluster.get("service", "web")
    const command = "busybox nslookup web.default.svc.cluster.local 10.96.0.10 2>&1 || true"
    const found = await until("the name resolves", async () => {
      const answer = await shellIn(cluster, "one", command)
      return answer.includes("web.default") && spec.clusterIPs.some((ip: string) => answer.includes(ip)) && answer
    }, 30)
    assert.include(found, "10.96.0.10")
  })

  it("opens host ports of both families", async () => {
    await cluster.apply(
      pod("hostport", { spec: onNode(2), container: { ports: [{ containerPort: 80, hostPort: 8080 }] } })
    )
    await readyPods(cluster, "hostport", 1)
    for (const address of ["203.0.113.10", "2001:db8:ffff:2::2"]) {
      assert.strictEqual(await until(`port 8080 of ${address}`, () => fetchFrom(client, address, 8080)), "hostport")
    }
  })

  it("keeps a StatefulSet's names while its pods come anew", async () => {
    await cluster.apply(
      service("state", { clusterIP: "None" }),
      workload("StatefulSet", "state", { serviceName: "state", replicas: 2, podManagementPolicy: "Parallel" })
    )
    await readyPods(cluster, "state", 2)
    await cluster.kubectl("delete", "pod", "state-0", "--wait=true")
    const found = await readyPods(cluster, "state", 2)
    assert.deepStrictEqual(found.map(({ metadata }) => metadata.name).toSorted(), ["state-0", "state-1"])
    for (const one of found) {
      for (const address of addressesOf(one)) assert.strictEqual(await fetchFrom(client, address), one.metadata.name)
    }
  })

  it("leaves a pod in the node's network alone", async () => {
    const container = { command: ["sh", "-c", "sleep 1000"], readinessProbe: undefined }
    await cluster.apply(pod("host", { spec: { ...onNode(1), hostNetwork: true }, container }))
    const [host] = await readyPods(cluster, "host", 1)
    assert.deepStrictEqual(addressesOf(host).toSorted(), ["2001:db8:ffff:1::2", "203.0.113.6"])
  })

  it("has the network up before init containers run", async () => {
    const [one] = await podsOf(cluster, "one")
    const fetches = addressesOf(one).map((address) => fetchCommand(address))
    const initContainers = [{
      name: "init",
      image: "local/app:1",
      imagePullPolicy: "Never",
      command: ["sh", "-ec", fetches.join("\n")]
    }]
    await cluster.apply(pod("init", { spec: { ...onNode(2), initContainers } }))
    const [init] = await readyPods(cluster, "init", 1)
    assert.strictEqual(init.status.initContainerStatuses[0].restartCount, 0)
  })
})
