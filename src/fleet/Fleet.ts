/**
 * Keeps this node's NodeConfig as its NodeConfigTemplate says: looks whenever something changed that {@link decide} looks
 * at, does what it says, and looks again. There is nobody else: no controller, no leader.
 */
import { Clock, Context, Effect, Layer, Option, Queue, Random, Ref, Result, Stream, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { type BirdStatus, type PeerStatus, peerText, troubleOf } from "../bird/birdStatus.ts"
import { decodeTemplate, type NodeConfigTemplate } from "../domain/NodeConfigTemplate.ts"
import { record } from "../domain/record.ts"
import type { ApiError } from "../kube/access.ts"
import type { FleetApi } from "../kube/fleetApi.ts"
import { KubeApi, type NodeConfigState } from "../kube/KubeApi.ts"
import { timeOf } from "../kube/nodeCondition.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { sayChanges } from "../process/sayOnce.ts"
import { makeCounter } from "./Counter.ts"
import { currentOf } from "./current.ts"
import type { Action, Conflict, Decision, FellBack, Health } from "./decision.ts"
import { defaultGateways } from "./gateways.ts"
import { type Known, NOTHING, onNode, onOwn, onTemplates, UNKNOWN } from "./known.ts"
import { isSomebodyElses, nodeConfigBody, orphanBody, releaseBody, templateStatusBody } from "./objects.ts"
import { decide } from "./rollout.ts"
import { PROBATION_MILLIS } from "./trial.ts"

/** After a write that was refused or not answered, seconds; up to half of it less by chance. */
const AGAIN = { first: 5, most: 60 }

const sessionTrouble = (peer: PeerStatus): ReadonlyArray<string> => {
  const words = troubleOf(peer)
  return peer.state === "Established" || words === "" ? [] : [`${peerText(peer)}: ${words}`]
}

// A node that an operator drained lost nothing by its NodeConfig.
const establishedOf = ({ drained, peers }: BirdStatus): number =>
  peers.filter(({ state }) => drained === true || state === "Established").length

/** Sessions as they were seen last, and when they became fewer, milliseconds of a monotonic clock. */
interface Sessions {
  readonly established: number
  readonly fewerAt: number
}

const NO_SESSIONS: Sessions = { established: 0, fewerAt: -Infinity }

const seeSessions = ({ established, fewerAt }: Sessions, bird: BirdStatus, now: number): Sessions => {
  const after = establishedOf(bird)
  return { established: after, fewerAt: after < established ? now : fewerAt }
}

export const healthOf = ({ current, rejected }: NodeConfigState, bird: BirdStatus, fewerFor: number): Health => ({
  generation: Math.max(
    Option.match(current, { onNone: () => 0, onSome: ({ generation }) => generation }),
    Option.match(rejected, { onNone: () => 0, onSome: ({ generation }) => generation })
  ),
  rejected: Option.match(rejected, { onNone: () => undefined, onSome: ({ message }) => message }),
  refusedByBird: bird.enabled && bird.up && bird.stale ? bird.configError : undefined,
  established: establishedOf(bird),
  fewerFor,
  sessions: bird.peers.length,
  trouble: bird.peers.flatMap(sessionTrouble).join("; ")
})

/** Each object is decoded once: a rack's node looks at every template of the cluster, at every change of one. */
const makeDecodeAll = (say: (message: string) => Effect.Effect<void>) => {
  const known = new WeakMap<object, ReturnType<typeof decodeTemplate>>()
  const decode = (object: unknown) => {
    const key = record(object)
    const decoded = known.get(key) ?? decodeTemplate(object)
    known.set(key, decoded)
    return decoded
  }
  return Effect.fnUntraced(function*(objects: Iterable<unknown>) {
    const templates: Array<NodeConfigTemplate> = []
    const problems: Array<string> = []
    for (const object of objects) {
      const decoded = decode(object)
      if (Result.isSuccess(decoded)) templates.push(decoded.success)
      else problems.push(decoded.failure.message)
    }
    yield* say(problems.join("; "))
    return templates
  })
}

/** One write; what the API server answers is known from then on. */
const makePerform = (fleet: FleetApi, nodeName: string, known: Ref.Ref<Known>) => {
  const wrote = (object: unknown) => Ref.update(known, (before) => ({ ...before, own: { listed: true, object } }))
  return Effect.fnUntraced(function*(action: Action, nodeConfig: unknown): Effect.fn.Return<void, ApiError> {
    switch (action._tag) {
      case "Apply": {
        yield* Effect.logInfo(`NodeConfig ${nodeName} from NodeConfigTemplate ${action.wanted.template}: ${action.why}`)
        const object = yield* fleet.applyNodeConfig(nodeConfigBody(nodeName, action.wanted, nodeConfig))
        if (nodeConfig !== undefined || !isSomebodyElses(object)) return yield* wrote(object)
        yield* Effect.logWarning(`somebody else has just written NodeConfig ${nodeName}: it is theirs`)
        return yield* wrote(yield* fleet.applyNodeConfig(releaseBody(nodeName)))
      }
      case "Orphan":
        yield* Effect.logWarning(`NodeConfig ${nodeName} stays as it is: ${action.why}`)
        return yield* wrote(yield* fleet.applyNodeConfig(orphanBody(nodeName, nodeConfig)))
      case "Report": {
        const { failure, template } = action
        if (failure !== undefined) {
          yield* Effect.logWarning(
            `NodeConfigTemplate ${template}, generation ${failure.generation}: ${failure.message}`
          )
        }
        const now = timeOf(yield* Clock.currentTimeMillis)
        const object = yield* fleet.applyTemplateStatus(template, templateStatusBody(template, failure, now))
        return yield* Ref.update(known, (before) => onTemplates(before, { _tag: "Changed", item: object }))
      }
    }
  })
}

/** The watches, into what is known; `wake` after each change. A cluster without templates is asked nothing more: the Node is followed only where there is one. */
const follow = Effect.fnUntraced(function*(fleet: FleetApi, known: Ref.Ref<Known>, wake: Effect.Effect<void>) {
  const changed = (change: (before: Known) => Known) =>
    Effect.andThen(Ref.updateAndGet(known, change), (now) => Effect.as(wake, now))
  const someTemplate = yield* SubscriptionRef.make(false)
  const node = SubscriptionRef.changes(someTemplate).pipe(
    Stream.changes,
    Stream.switchMap((some) => some ? fleet.node : Stream.never)
  )
  yield* Effect.all([
    Stream.runForEach(fleet.templates, (signal) =>
      Effect.flatMap(
        changed((before) => onTemplates(before, signal)),
        ({ templates }) => SubscriptionRef.set(someTemplate, (templates?.size ?? 0) > 0)
      )),
    Stream.runForEach(node, (signal) => changed((before) => onNode(before, signal))),
    Stream.runForEach(SubscriptionRef.changes(fleet.nodeConfig), (own) => changed((before) => onOwn(before, own)))
  ], { concurrency: "unbounded", discard: true })
})

const conflictOf = (action: Action, nodeConfig: unknown, conflicts: ReadonlyArray<string>): Conflict | undefined =>
  action._tag !== "Apply" ? undefined : {
    hash: action.wanted.hash,
    observed: currentOf(nodeConfig)?.observed ?? 0,
    message: conflicts.join("; ")
  }

/** What the node says of itself changes only where this does. */
const sayTrouble = ({ trouble: ref }: FleetApi, { trouble }: Decision) =>
  Effect.when(
    SubscriptionRef.set(ref, trouble),
    Effect.map(
      SubscriptionRef.get(ref),
      (said) => said?.reason !== trouble?.reason || said?.message !== trouble?.message
    )
  )

interface Options {
  readonly nodeName: string
  /** Default: a minute. */
  readonly probationMillis?: number
}

const make = Effect.fnUntraced(function*({ nodeName, probationMillis = PROBATION_MILLIS }: Options) {
  const kube = yield* KubeApi
  const bird = yield* Bird
  const netlink = yield* Netlink
  const { fleet } = kube
  if (fleet === undefined) return Fleet.of({ run: Effect.never })

  const known = yield* Ref.make(UNKNOWN)
  const conflict = yield* Ref.make<Conflict | undefined>(undefined)
  const sessions = yield* Ref.make(NO_SESSIONS)
  const fellBack = yield* Ref.make<FellBack | undefined>(undefined)
  const wake = yield* Queue.sliding<void>(1)
  const decodeAll = makeDecodeAll(sayChanges(Effect.logError))
  const perform = makePerform(fleet, nodeName, known)
  const counter = yield* makeCounter(fleet, known)
  const changed = Effect.andThen(Queue.offer(wake, undefined), counter.wake)

  /** Undefined: nothing can be decided yet. */
  const look = Effect.gen(function*(): Effect.fn.Return<readonly [Decision, unknown] | undefined> {
    const { node, own, templates } = yield* Ref.get(known)
    if (templates === undefined || !own.listed || (node === undefined && templates.size > 0)) return undefined
    const { annotations, labels, podCIDRs } = node ?? NOTHING
    const all = yield* decodeAll(templates.values())
    const gateways = yield* defaultGateways(netlink, all)
    const status = yield* bird.lastStatus
    const clock = yield* monotonicMillis
    const { fewerAt } = yield* Ref.updateAndGet(sessions, (before) => seeSessions(before, status, clock))
    const decision = decide({
      node: { name: nodeName, labels, annotations, podCIDRs, gateways },
      templates: all,
      nodeConfig: own.object,
      health: healthOf(yield* SubscriptionRef.get(kube.nodeConfig), status, clock - fewerAt),
      conflict: yield* Ref.get(conflict),
      fellBack: yield* Ref.get(fellBack),
      now: yield* Clock.currentTimeMillis,
      probationMillis
    })
    return [decision, own.object]
  })

  const say = sayChanges(Effect.logInfo)

  /** The edit may be what cuts the node off from its API server: then only going back brings the answer. */
  const goBackAlone = Effect.fnUntraced(function*({ fallBack }: Decision, nodeConfig: unknown) {
    if (fallBack === undefined || (yield* Ref.get(fellBack))?.observed === fallBack.observed) return
    yield* Ref.set(fellBack, fallBack)
    yield* fleet.fallBack({ ...record(nodeConfig), spec: fallBack.spec }, fallBack.failure.message)
  })

  /** Looks, does what is to be done, and looks again until there is nothing; then waits for news. */
  const turn = Effect.gen(function*() {
    const looked = yield* look
    if (looked === undefined) return undefined
    const [decision, nodeConfig] = looked
    yield* sayTrouble(fleet, decision)
    yield* say(decision.words)
    // One after another: a failed trial is told before it is taken back, and what is not told is not taken back yet.
    for (const action of decision.actions) {
      yield* perform(action, nodeConfig).pipe(
        Effect.tapError(({ status }) => status === 0 ? goBackAlone(decision, nodeConfig) : Effect.void),
        Effect.catchIf(
          ({ conflicts }) => action._tag === "Apply" && conflicts !== undefined,
          ({ conflicts = [] }) => Ref.set(conflict, conflictOf(action, nodeConfig, conflicts))
        )
      )
    }
    return decision.actions.length > 0 ? 0 : decision.lookIn
  })

  const failures = yield* Ref.make(0)
  const again = Effect.fnUntraced(function*(error: ApiError) {
    const count = yield* Ref.updateAndGet(failures, (n) => n + 1)
    const seconds = Math.ceil(Math.min(AGAIN.first * 2 ** (count - 1), AGAIN.most) * (0.5 + (yield* Random.next) / 2))
    yield* Effect.logWarning(`NodeConfigTemplate: not written, again in ${seconds} s: ${error.message}`)
    return seconds * 1000
  })

  const loop = Effect.gen(function*() {
    const millis = yield* turn.pipe(Effect.tap(() => Ref.set(failures, 0)), Effect.catch(again))
    yield* millis === undefined ? Queue.take(wake) : Effect.race(Queue.take(wake), Effect.sleep(millis))
    // What comes together is looked at together.
    yield* Effect.sleep(100)
  }).pipe(Effect.forever)

  const followHealth = Stream.runForEach(
    Stream.merge(
      Stream.map(SubscriptionRef.changes(kube.nodeConfig), () => undefined),
      Stream.map(bird.statusChanges, () => undefined)
    ),
    () => Queue.offer(wake, undefined)
  )

  return Fleet.of({
    run: Effect.all([follow(fleet, known, changed), followHealth, loop, counter.run], {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.andThen(Effect.never))
  })
})

export class Fleet extends Context.Service<Fleet, {
  readonly run: Effect.Effect<never>
}>()("flock/Fleet") {
  static readonly layer = (options: Options): Layer.Layer<Fleet, never, Bird | KubeApi | Netlink> =>
    Layer.effect(Fleet, make(options))
}
