/** The CNI verbs. One request in, one reply line out; nothing that goes wrong is anything but a CNI error. */
import { Cause, Context, Effect, Layer, Option, Result } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { oneLine } from "../domain/quote.ts"
import { quote } from "../domain/quote.ts"
import { encodeError, encodeResult, type Request } from "../domain/Wire.ts"
import type { NetlinkError } from "../netlink/Netlink.ts"
import * as KeyedLock from "../process/KeyedLock.ts"
import type { StoreError } from "../state/Allocations.ts"
import { account, started as accountStarted } from "./account.ts"
import { makeAdd } from "./add.ts"
import { makeCheck } from "./check.ts"
import { makeCompleteRebuilt } from "./completeRebuilt.ts"
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
  VERBS,
  versionForError
} from "./spec.ts"
import { makeStatus } from "./status.ts"
import { makeWriteRecords } from "./writeRecords.ts"

export class Cni extends Context.Service<Cni, {
  /** Serves one call of the plugin: the reply line. Calls for one attachment run one after another. */
  readonly handle: (request: Request) => Effect.Effect<string>
  /** A DEL that the plugin queued while there was no agent. */
  readonly queuedDel: (request: Request) => Effect.Effect<void, CniFailure>
  /**
   * Fills in what was rebuilt at start before NodeConfig and pods were known, once they are; ends then. A repeat does what
   * is left.
   */
  readonly completeRebuilt: (rebuilt: ReadonlyArray<Allocation>) => Effect.Effect<void, StoreError | NetlinkError>
  /** Frees attachments whose pod ended without a DEL, and writes records that the disk had no room for. Run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}>()("flock/Cni") {
  static readonly layer = (options: { readonly bootId: string }) =>
    Layer.effect(
      Cni,
      Effect.gen(function*() {
        yield* accountStarted
        const lock = yield* KeyedLock.make
        const add = yield* makeAdd(options)
        const check = yield* makeCheck
        const { del, gc } = yield* makeRelease(lock)
        const completeRebuilt = yield* makeCompleteRebuilt(lock)
        const reap = yield* makeReap(lock, del)
        const writeRecords = yield* makeWriteRecords(lock)
        const run = Effect.andThen(Effect.all([reap, writeRecords], { concurrency: "unbounded" }), Effect.never)
        const status = yield* makeStatus

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
                message: `CNI_COMMAND ${quote(op)} must be one of ${VERBS.join(", ")}`
              })
          }
        })

        const handle = Effect.fnUntraced(function*(request: Request) {
          const start = performance.now()
          const result = yield* dispatch(request).pipe(
            Effect.mapError(toFailure),
            Effect.catchCause((cause) => {
              const error = Cause.findErrorOption(cause)
              if (Option.isSome(error)) return Effect.fail(error.value)
              return Effect.fail(
                new CniFailure({ code: Code.IO_FAILURE, message: `failed unexpectedly: ${Cause.pretty(cause)}` })
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
            // shown by kubelet, in its Events and by kubectl
            msg: oneLine(message),
            ...(details === undefined ? {} : { details: oneLine(details) })
          })
        })

        return Cni.of({
          handle,
          completeRebuilt,
          queuedDel: (request) => Effect.mapError(release(request), toFailure),
          run
        })
      })
    )
}
