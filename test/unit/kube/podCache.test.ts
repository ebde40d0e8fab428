import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type PodInfo, podKey } from "../../../src/domain/Pod.ts"
import type { PodChange } from "../../../src/kube/KubeApi.ts"
import { decodePod, type Pods, step } from "../../../src/kube/podCache.ts"
import type { Signal } from "../../../src/kube/reflector.ts"

const pod = (name: string, over: Partial<PodInfo> = {}): PodInfo => ({
  namespace: "default",
  name,
  uid: `${name}-1`,
  ready: false,
  deleting: false,
  annotations: {},
  ...over
})

const text = ({ _tag, pod: { ready, uid } }: PodChange) => `${_tag} ${uid}${ready ? " ready" : ""}`

const run = (...signals: ReadonlyArray<Signal<PodInfo>>) => {
  let pods: Pods = new Map()
  const changes: Array<string> = []
  for (const signal of signals) {
    const next = step(pods, signal)
    pods = next.pods
    changes.push(...next.changes.map(text))
  }
  return changes
}

const changed = (item: PodInfo): Signal<PodInfo> => ({ _tag: "Changed", item })
const removed = (item: PodInfo): Signal<PodInfo> => ({ _tag: "Removed", item })
const listed = (...items: ReadonlyArray<PodInfo>): Signal<PodInfo> => ({ _tag: "Listed", items })

describe("the pod cache", () => {
  it("tells of changes that matter and of no others", () => {
    const a = pod("a", { annotations: { anycast: "192.0.2.1" } })
    assert.deepStrictEqual(
      run(
        changed(a),
        changed({ ...a }),
        changed({ ...a, annotations: { anycast: "192.0.2.1" } }),
        changed({ ...a, ready: true }),
        changed({ ...a, ready: true, annotations: {} }),
        changed({ ...a, ready: true, annotations: {}, ended: "Failed" }),
        changed({ ...a, ready: true, annotations: {}, deleting: true })
      ),
      ["Changed a-1", ...Array.from({ length: 4 }, () => "Changed a-1 ready")]
    )
  })

  it("finds in a new list what happened while the watch was cut", () => {
    assert.deepStrictEqual(
      run(
        listed(pod("stays"), pod("goes"), pod("turns"), pod("again")),
        listed(pod("stays"), pod("turns", { ready: true }), pod("again", { uid: "again-2" }), pod("comes"))
      ).slice(4),
      ["Removed goes-1", "Changed turns-1 ready", "Removed again-1", "Changed again-2", "Changed comes-1"]
    )
  })

  it("takes a late end of a pod's predecessor for nothing", () => {
    assert.deepStrictEqual(run(changed(pod("a", { uid: "new" })), removed(pod("a", { uid: "old" }))), ["Changed new"])
    assert.deepStrictEqual(run(removed(pod("never"))), [])
  })

  it("knows a static pod by the UID that kubelet gives the runtime", () => {
    const mirror = { metadata: { name: "m", uid: "api", annotations: { "kubernetes.io/config.mirror": "kubelet" } } }
    assert.strictEqual(decodePod(mirror)?.uid, "kubelet")
    assert.strictEqual(decodePod({ metadata: { name: "m", uid: "api" } })?.uid, "api")
    assert.isUndefined(decodePod(null))
  })

  it("is after any history what the changes say", () => {
    const pods = fc.record({
      name: fc.constantFrom("a", "b", "c"),
      uid: fc.constantFrom("1", "2"),
      ready: fc.boolean()
    }).map(({ name, ...over }) => pod(name, over))
    const unique = fc.uniqueArray(pods, { selector: podKey })
    const history = fc.array(fc.oneof(pods.map(changed), pods.map(removed), unique.map((items) => listed(...items))))
    fc.assert(fc.property(history, (signals) => {
      let cache: Pods = new Map()
      const model = new Map<string, PodInfo>()
      for (const signal of signals) {
        const next = step(cache, signal)
        cache = next.pods
        for (const change of next.changes) {
          if (change._tag === "Changed") {
            model.set(podKey(change.pod), change.pod)
          } else {
            assert.strictEqual(model.get(podKey(change.pod))?.uid, change.pod.uid, "only what was there is removed")
            model.delete(podKey(change.pod))
          }
        }
        assert.deepStrictEqual(new Map(cache), model)
      }
    }))
  })
})
