/** The CNI verbs. One request in, one reply line out; nothing that goes wrong is anything but a CNI error. */
import { Cause, Context, Effect, Layer, Metric, Option, Result, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { attachmentKey } from "../domain/Allocation.ts"
import { encodeError, encodeResult, type Request } from "../domain/Wire.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import * as KeyedLock from "../process/KeyedLock.ts"
import { makeAdd } from "./add.ts"
import { makeCheck } from "./check.ts"
import { toFailure } from "./failure.ts"
import { makeReap } from "./reap.ts"
import { makeRelease } from "./release.ts"
import {
  CniFailure,
  Code,
  NEWEST,
  parseConfig,
  requireAttachment,
  requireVersion,
  SUPPORTED_VERSIONS,
  versionForError
} from "./spec.ts"
import { statusFailure } from "./status.ts"

export class Cni extends Context.Service<Cni, {
  /** Serves one call of the plugin: the reply line. Calls for one attachment run one after another. */
  readonly handle: (request: Request) => Effect.Effect<string>
  /** A DEL that the plugin queued while there was no agent. */
  readonly queuedDel: (request: Request) => Effect.Effect<void, CniFailure>
  /** Frees attachments whose pod ended without a DEL. Run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}>()("flock/Cni") {}

const seconds = Metric.histogram("flock_cni_duration_seconds", {
  description: "Time from a CNI request to its reply",
  boundaries: [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 4, 16, 64]
})
const calls = Metric.counter("flock_cni_calls_total", {
  description: "CNI calls by verb and CNI error code (0: success)",
  incremental: true
})

const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]

export const layer = (options: { readonly bootId: string }) =>
  Layer.effect(
    Cni,
    Effect.gen(function*() {
      const bird = yield* Bird
      const ipam = yield* Ipam
      const kube = yield* KubeApi
      const lock = yield* KeyedLock.make
      const add = yield* makeAdd(options)
      const check = yield* makeCheck
      const { del, gc } = yield* makeRelease(lock)
      const run = yield* makeReap(lock, del)

      const status = Effect.gen(function*() {
        const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
        const usage = Option.isSome(nodeConfig.current) ? yield* ipam.usage(nodeConfig.current.value.spec) : {}
        const failure = statusFailure({ nodeConfig, usage, bird: yield* bird.lastStatus })
        if (failure !== undefined) return yield* failure
      })

      // What is to be deleted is in the environment: a broken configuration is no reason to leak an address.
      const release = Effect.fnUntraced(function*(request: Request) {
        const attachment = yield* Effect.fromResult(requireAttachment(request))
        return yield* del(attachment).pipe(lock.withLock(attachmentKey(attachment)))
      })

      const dispatch = Effect.fnUntraced(function*(request: Request) {
        const { config: text, op } = request
        switch (op) {
          case "ADD":
          case "CHECK": {
            const attachment = yield* Effect.fromResult(requireAttachment(request))
            const config = yield* Effect.fromResult(parseConfig(text))
            const version = yield* Effect.fromResult(requireVersion(config.cniVersion))
            return yield* (op === "ADD" ? add(request, config, version) : check(request, config)).pipe(
              lock.withLock(attachmentKey(attachment))
            )
          }
          case "DEL":
            return yield* release(request)
          case "GC":
            return yield* gc(yield* Effect.fromResult(parseConfig(text)))
          case "STATUS":
            return yield* status
          case "VERSION":
            return { cniVersion: NEWEST, supportedVersions: SUPPORTED_VERSIONS }
          default:
            return yield* new CniFailure({
              code: Code.INVALID_ENVIRONMENT,
              message: `CNI_COMMAND ${JSON.stringify(op.slice(0, 80))} must be one of ${VERBS.join(", ")}`
            })
        }
      })

      /** Metrics and log of a call. */
      const account = Effect.fnUntraced(function*(request: Request, milliseconds: number, failure?: CniFailure) {
        const { containerId, ifName, op } = request
        const verb = VERBS.includes(op) ? op : "other"
        const code = failure?.code ?? 0
        yield* Metric.update(Metric.withAttributes(seconds, { verb }), milliseconds / 1000)
        yield* Metric.update(Metric.withAttributes(calls, { verb, code: String(code) }), 1)
        const about = { verb, containerId, ifName, milliseconds: Math.round(milliseconds * 100) / 100 }
        if (failure !== undefined) {
          yield* Effect.logWarning(`${op} refused: ${failure.message}`).pipe(Effect.annotateLogs({ ...about, code }))
        } else if (op === "ADD" || op === "DEL") {
          yield* Effect.logInfo(`${op} done`).pipe(Effect.annotateLogs(about))
        }
      })

      const handle = Effect.fnUntraced(function*(request: Request) {
        const start = performance.now()
        const { op } = request
        const result = yield* dispatch(request).pipe(
          Effect.mapError(toFailure),
          Effect.catchCause((cause) => {
            const error = Cause.findErrorOption(cause)
            if (Option.isSome(error)) return Effect.fail(error.value)
            return Effect.andThen(
              Effect.logError(`${op} failed unexpectedly`, cause),
              Effect.fail(new CniFailure({ code: Code.IO_FAILURE, message: `${op} failed: ${Cause.pretty(cause)}` }))
            )
          }),
          Effect.result
        )
        const failure = Result.isFailure(result) ? result.failure : undefined
        // When the reply is on its way: a pod does not wait for a log line.
        yield* Effect.forkDetach(account(request, performance.now() - start, failure))
        if (Result.isSuccess(result)) return encodeResult(result.success)
        const { code, details, message } = result.failure
        return encodeError({
          cniVersion: versionForError(request.config),
          code,
          msg: message,
          ...(details === undefined ? {} : { details })
        })
      })

      return Cni.of({ handle, queuedDel: (request) => Effect.mapError(release(request), toFailure), run })
    })
  )
