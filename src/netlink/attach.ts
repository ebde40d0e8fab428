/** Making a pod's network: one veth pair, then the pod's end, then the host's. Everything or nothing. */
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { closeSync, write } from "node:fs"
import { constants } from "node:os"
import type { IpAddress } from "../domain/Ip.ts"
import { readHostEnd, readInet6Conf, readLink } from "./answers.ts"
import { errnoName, type Message } from "./codec.ts"
import { DEVCONF_DISABLE_IPV6, RTMGRP_IPV6_ROUTE } from "./constants.ts"
import { differingInet6, writeInet6 } from "./hostEnd.ts"
import { hostMac } from "./hostLinkItems.ts"
import { closeNetns, errorCode, type Namespaces, type Netns, openNetns, SysctlFolder } from "./namespace.ts"
import {
  AddressHeld,
  HOST_MAC,
  InterfaceExists,
  LinkNameTaken,
  NetlinkError,
  NetnsError,
  type PodLink,
  type PodLinkPlan
} from "./Netlink.ts"
import { untilLocal } from "./ready.ts"
import * as R from "./requests.ts"
import { failure, REJECTED, type Reply, RequestSocket } from "./socket.ts"
import type { Step } from "./step.ts"
import { hostSteps, passSteps, podSteps } from "./steps.ts"

export interface AttachContext {
  readonly namespaces: Namespaces
  readonly host: RequestSocket
  /** `ipv6/conf` of the node; undefined: the kernel has no IPv6. */
  readonly conf: SysctlFolder | undefined
  /** Limits how many pods' sends are under way at once. */
  readonly podLane: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly remove: (hostIfName: string) => Effect.Effect<void, NetlinkError>
}

const { EEXIST, ENOBUFS } = constants.errno

/** Opens the pod's namespace. */
export const enterPod = (namespaces: Namespaces, path: string): Effect.Effect<Netns, NetnsError> =>
  Effect.try({
    try: () => openNetns(path),
    catch: (error) => new NetnsError({ path, detail: `cannot be opened (${errorCode(error)})` })
  }).pipe(Effect.flatMap((netns) => {
    if (netns.identity !== namespaces.host.identity) return Effect.succeed(netns)
    closeNetns(netns)
    return Effect.fail(new NetnsError({ path, detail: "is the host's own network namespace" }))
  }))

/** Opens a socket of the pod's namespace. */
export const openIn = <A>(
  namespaces: Namespaces,
  netns: Netns,
  path: string,
  open: () => A
): Effect.Effect<A, NetnsError> =>
  Effect.try({
    try: () => namespaces.visit(netns, open),
    catch: (error) =>
      new NetnsError({
        path,
        detail: errorCode(error) === "EINVAL" ? "is not a network namespace" : `cannot be entered (${errorCode(error)})`
      })
  })

/** What steps have done so far. */
interface Done {
  /** To be sent if the whole fails. */
  readonly undo: Array<Message>
  readonly added: Array<IpAddress>
}

/** Sends all steps; fails with the first error. The result has a reply for each. */
const run = (
  socket: RequestSocket,
  steps: ReadonlyArray<Step>,
  done: Done
): Effect.Effect<ReadonlyArray<Reply>, NetlinkError | AddressHeld> =>
  Effect.flatMap(socket.request(steps.map((step) => step.message), true), (replies) => {
    let first: NetlinkError | AddressHeld | undefined
    for (const [i, step] of steps.entries()) {
      const { ack = { code: ENOBUFS }, answers = [] } = replies[i] ?? {}
      const { code, detail = step.exists } = step.taken?.(answers) ? { code: EEXIST } : ack
      if (code === 0) {
        if (step.undo !== undefined) done.undo.push(step.undo)
        if (step.adds !== undefined) done.added.push(step.adds)
      } else if (step.claims !== undefined && (code === EEXIST || REJECTED.has(code))) {
        first ??= new AddressHeld({ address: step.claims, detail: `${step.op}: ${step.exists ?? errnoName(code)}` })
      } else if (code !== EEXIST) first ??= failure(step.op, ack)
      else if (!step.mayExist) first ??= failure(step.op, detail === undefined ? { code } : { code, detail })
    }
    return first === undefined ? Effect.succeed(replies) : Effect.fail(first)
  })

/** Interface names as the kernel takes them (`dev_valid_name`), and no `%d` pattern, which it would fill in. */
const IF_NAME = /^(?!\.{1,2}$)[^\s/:%]{1,15}$/

const create = (context: AttachContext, plan: PodLinkPlan, pod: RequestSocket, netns: Netns, podMac: R.Mac) =>
  Effect.gen(function*() {
    const op = `create veth ${plan.hostIfName}`
    if (!IF_NAME.test(plan.ifName)) {
      return yield* new NetlinkError({ op, errno: "EINVAL", detail: `"${plan.ifName}" is no interface name` })
    }
    const pair = { ...plan, hostMac, podMac, netnsFd: netns.fd }
    const [created, shown] = yield* context.host.request([R.createVeth(pair), R.getLinkByName(plan.hostIfName)])
    if (created?.ack.code !== 0) {
      const ack = created?.ack ?? { code: ENOBUFS }
      if (ack.code !== EEXIST) return yield* failure(op, ack)
      const [inside] = yield* context.podLane(pod.request([R.getLinkByName(plan.ifName)]))
      if (inside?.ack.code === 0) return yield* new InterfaceExists({ ifName: plan.ifName, netns: plan.netns })
      return yield* new LinkNameTaken({ hostIfName: plan.hostIfName })
    }
    const message = shown?.answers.find((answer) => readLink(answer) !== undefined)
    const link = message && readLink(message)
    if (message === undefined || link?.peerIndex === undefined) {
      yield* Effect.ignore(context.remove(plan.hostIfName), { log: true })
      return yield* new NetlinkError({ op, errno: "OTHER", detail: "the kernel did not show the link it made" })
    }
    return {
      ...link,
      differing: differingInet6(message),
      ipv6Disabled: readInet6Conf(message)(DEVCONF_DISABLE_IPV6) === 1
    }
  })

type NewLink = Effect.Success<ReturnType<typeof create>>

/** Writes a value through a descriptor, on the thread pool. */
const writeTo = (op: string, fd: number, value: string): Effect.Effect<void, NetlinkError> =>
  Effect.callback<void, NetlinkError>((resume) =>
    write(
      fd,
      value,
      (error) => resume(error ? Effect.fail(new NetlinkError({ op, errno: errorCode(error) })) : Effect.void)
    )
  )

const sysctls = (netns: string, visit: () => void): Effect.Effect<void, NetlinkError> =>
  Effect.try({
    try: visit,
    catch: (error) => new NetlinkError({ op: `set sysctls in ${netns}`, errno: errorCode(error) })
  })

/** The host end as it has to be before anything can be heard on it, whatever families the pod has. */
const guardHostEnd = (conf: SysctlFolder, link: NewLink): Effect.Effect<void, NetlinkError> =>
  sysctls("the host", () => writeInet6(conf, link.ifName, link.differing))

/** `accept_ra=0` on the pod's interface; `disable_ipv6=0` where it is not, on both ends and on the pod's `lo`. */
const prepareIpv6 = (
  namespaces: Namespaces,
  host: SysctlFolder,
  plan: PodLinkPlan,
  netns: Netns,
  link: NewLink
): Effect.Effect<void, NetlinkError> =>
  Effect.suspend(() => {
    const disabled: Array<{ readonly op: string; readonly fd: number }> = []
    const enable = (conf: SysctlFolder, name: string, where: string) =>
      disabled.push({ op: `set disable_ipv6=0 on ${name} ${where}`, fd: conf.open(`${name}/disable_ipv6`) })
    const visit = () => {
      const conf = new SysctlFolder("ipv6/conf")
      try {
        conf.write(`${plan.ifName}/accept_ra`, "0")
        if (plan.addresses.ipv6 === undefined) return
        for (const name of [plan.ifName, "lo"]) {
          if (conf.read(`${name}/disable_ipv6`) === "1") enable(conf, name, "in the pod")
        }
      } finally {
        conf.close()
      }
    }
    return sysctls("the pod", () => namespaces.visit(netns, visit)).pipe(
      Effect.andThen(
        plan.addresses.ipv6 !== undefined && link.ipv6Disabled
          ? sysctls("the host", () => void enable(host, link.ifName, ""))
          : Effect.void
      ),
      Effect.andThen(
        // None is left behind in the thread pool for another's failure: its descriptor would be closed, or another's.
        Effect.suspend(() =>
          Effect.forEach(disabled, ({ fd, op }) => Effect.result(writeTo(op, fd, "0")), { concurrency: 2 })
        )
      ),
      Effect.flatMap((written) => Effect.forEach(written, Effect.fromResult, { discard: true })),
      // Of all that were opened, whatever came after.
      Effect.ensuring(Effect.sync(() => disabled.forEach(({ fd }) => closeSync(fd))))
    )
  })

const configure = <E>(
  context: AttachContext,
  plan: PodLinkPlan,
  pod: RequestSocket,
  netns: Netns,
  link: NewLink,
  podMac: R.Mac,
  done: Done,
  beforeRoutes: Effect.Effect<void, E>
) =>
  Effect.gen(function*() {
    const { conf } = context
    if (conf !== undefined) {
      // A pod without IPv6 works with a read-only /proc/sys of its own too.
      const prepared = prepareIpv6(context.namespaces, conf, plan, netns, link)
      yield* plan.addresses.ipv6 === undefined ? Effect.ignore(prepared) : prepared
    }
    // Before the host's end is up, and while the kernel works on the pod's: 0.1 ms of writes that nobody waits for.
    const guarded = conf === undefined ? Effect.void : guardHostEnd(conf, link)
    // Neither is cut short by the other's failure: what a side has done must be known before it is undone.
    const sides = yield* Effect.all([
      Effect.result(context.podLane(run(pod, podSteps(plan, link.peerIndex ?? 0), done))),
      Effect.result(
        guarded.pipe(
          Effect.andThen(beforeRoutes),
          Effect.andThen(
            run(context.host, [...hostSteps(plan, link, podMac, conf !== undefined), ...passSteps(plan, link)], done)
          )
        )
      )
    ], { concurrency: 2 })
    yield* Effect.fromResult(sides[0])
    const replies = yield* Effect.fromResult(sides[1])
    // The second end to come up gives both their carrier. Where that was the pod's, it came after these.
    const passes = replies.at(-2)?.answers.some((answer) => readHostEnd(answer)?.carrier === true) === true
    const last = passes ? Effect.void : run(context.host, passSteps(plan, link), done)
    yield* last
    yield* Effect.suspend(() => untilLocal(pod, done.added))
  })

const make = <E>(
  context: AttachContext,
  plan: PodLinkPlan,
  pod: RequestSocket,
  netns: Netns,
  beforeRoutes: Effect.Effect<void, E>
) =>
  Effect.gen(function*() {
    const podMac = randomBytes(6)
    podMac[0] = ((podMac[0] ?? 0) & 0xfc) | 0x02
    const done: Done = { undo: [], added: [] }
    const link = yield* create(context, plan, pod, netns, podMac)
    yield* configure(context, plan, pod, netns, link, podMac, done, beforeRoutes).pipe(
      Effect.onError(() =>
        Effect.andThen(
          context.podLane(pod.request(done.undo)),
          Effect.ignore(context.remove(plan.hostIfName), { log: true })
        )
      )
    )
    return { hostIfIndex: link.ifIndex, hostMac: HOST_MAC, podMac: R.macText(podMac) } satisfies PodLink
  })

export const attach =
  (context: AttachContext) => <E = never>(plan: PodLinkPlan, beforeRoutes: Effect.Effect<void, E> = Effect.void) =>
    Effect.acquireUseRelease(
      enterPod(context.namespaces, plan.netns),
      (netns) =>
        Effect.acquireUseRelease(
          openIn(context.namespaces, netns, plan.netns, () => new RequestSocket(RTMGRP_IPV6_ROUTE)),
          (pod) => make(context, plan, pod, netns, beforeRoutes),
          (pod) => Effect.sync(() => pod.close())
        ),
      (netns) => Effect.sync(() => closeNetns(netns))
    ).pipe(Effect.uninterruptible)
