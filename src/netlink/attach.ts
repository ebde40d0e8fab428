/** Making a pod's network: one veth pair, then the pod's end, then the host's. Everything or nothing. */
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { closeSync, write } from "node:fs"
import { formatAddress, hostCidr, type IpAddress } from "../Ip.ts"
import { address } from "../Ip.ts"
import {
  GATEWAY6,
  HOST_MAC,
  InterfaceExists,
  NetlinkError,
  NetnsError,
  type PodLink,
  type PodLinkPlan,
  PROTOCOL_POD
} from "../Netlink.ts"
import { type Link, readLink } from "./answers.ts"
import type { Message } from "./codec.ts"
import * as C from "./constants.ts"
import {
  closeNetns,
  errorCode,
  type Namespaces,
  type Netns,
  openNetns,
  openSysctl,
  readSysctl,
  writeSysctl
} from "./namespace.ts"
import * as R from "./requests.ts"
import { failure, RequestSocket } from "./socket.ts"

export interface AttachContext {
  readonly namespaces: Namespaces
  readonly host: RequestSocket
  /** The kernel has IPv6. */
  readonly ipv6: boolean
  /** Limits how many pods' sends are under way at once. */
  readonly podLane: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly remove: (hostIfName: string) => Effect.Effect<void, NetlinkError>
}

const gateway6 = address(GATEWAY6)
const hostMac = R.macBytes(HOST_MAC)

/** Opens the pod's namespace. */
export const enterPod = (namespaces: Namespaces, path: string): Effect.Effect<Netns, NetnsError> =>
  Effect.try({
    try: () => openNetns(path),
    catch: (error) => new NetnsError({ path, detail: `cannot be opened (${errorCode(error)})` })
  }).pipe(Effect.flatMap((netns) => {
    if (netns.inode !== namespaces.host.inode) return Effect.succeed(netns)
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

interface Step {
  readonly op: string
  readonly message: Message
  /** An error that is success, such as EEXIST for an address that is there. */
  readonly ignore?: string
}

/** Sends all steps; fails with the first error. */
const run = (socket: RequestSocket, steps: ReadonlyArray<Step>): Effect.Effect<void, NetlinkError> =>
  Effect.flatMap(socket.request(steps.map((step) => step.message), true), (replies) => {
    for (const [i, step] of steps.entries()) {
      const ack = replies[i]?.ack
      if (ack === undefined || ack.code === 0) continue
      const error = failure(step.op, ack)
      if (error.errno !== step.ignore) return Effect.fail(error)
    }
    return Effect.void
  })

const addressesOf = (plan: PodLinkPlan): ReadonlyArray<IpAddress> =>
  [plan.ipv6, plan.ipv4].filter((a) => a !== undefined)

const bits = (a: IpAddress): number => a.family === 4 ? 32 : 128

const hop = (ifIndex: number, via?: IpAddress) => ({ ifIndex, onlink: false, ...(via === undefined ? {} : { via }) })

/** Pod's end, in the order the kernel needs: up, addresses, gateways, default routes; then anycast. */
const podSteps = (plan: PodLinkPlan, index: number): ReadonlyArray<Step> => {
  const gateways = [
    ...(plan.ipv6 === undefined ? [] : [gateway6]),
    ...(plan.ipv4 === undefined || plan.gateway4 === undefined ? [] : [plan.gateway4])
  ]
  return [
    { op: "set lo up in the pod", message: R.linkUp(1) },
    { op: `set ${plan.ifName} up in the pod`, message: R.linkUp(index) },
    ...addressesOf(plan).map((a) => ({
      op: `add address ${formatAddress(a)} to ${plan.ifName}`,
      message: R.addAddress(index, a, bits(a))
    })),
    ...gateways.flatMap((gateway) => {
      const name = formatAddress(gateway)
      const everything = { family: gateway.family, base: 0n, prefix: 0 }
      return [
        { op: `add neighbour ${name} to ${plan.ifName}`, message: R.putNeighbour(index, gateway, hostMac) },
        {
          op: `add route to gateway ${name} in the pod`,
          message: R.addRoute({ destination: hostCidr(gateway), protocol: C.RTPROT_BOOT, nextHops: [hop(index)] })
        },
        {
          op: `add default route via ${name} in the pod`,
          message: R.addRoute({ destination: everything, protocol: C.RTPROT_BOOT, nextHops: [hop(index, gateway)] })
        }
      ]
    }),
    ...plan.anycast.map((a) => ({
      op: `add anycast address ${formatAddress(a)} to lo in the pod`,
      message: R.addAddress(1, a, bits(a)),
      ignore: "EEXIST"
    }))
  ]
}

/** Host's end. The last step makes both ends pass packets before the caller is told that the pod is ready. */
const hostSteps = (plan: PodLinkPlan, link: Link, podMac: R.Mac, ipv6: boolean): ReadonlyArray<Step> => {
  const { ifIndex, ifName, peerIndex = 0 } = link
  return [
    { op: `configure ${ifName}`, message: R.hostLinkSettings(ifIndex, plan.alias, ipv6) },
    { op: `set ${ifName} up`, message: R.linkUp(ifIndex) },
    ...(plan.ipv6 === undefined
      ? []
      : [{ op: `add address ${GATEWAY6} to ${ifName}`, message: R.addAddress(ifIndex, gateway6, 64) }]),
    ...addressesOf(plan).flatMap((a) => [
      { op: `add neighbour ${formatAddress(a)} to ${ifName}`, message: R.putNeighbour(ifIndex, a, podMac) },
      {
        op: `add route to ${formatAddress(a)} on ${ifName}`,
        message: R.addRoute({ destination: hostCidr(a), protocol: PROTOCOL_POD, nextHops: [hop(ifIndex)] })
      }
    ]),
    { op: `read ${ifName}`, message: R.getLink(ifIndex) },
    { op: `read ${plan.ifName} in the pod`, message: R.getLink(peerIndex, link.peerNsid) }
  ]
}

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
      const error = failure(op, created?.ack ?? { code: 0 })
      if (error.errno !== "EEXIST") return yield* error
      const [inside] = yield* context.podLane(pod.request([R.getLinkByName(plan.ifName)]))
      if (inside?.ack.code === 0) return yield* new InterfaceExists({ ifName: plan.ifName, netns: plan.netns })
      return yield* error
    }
    const link = shown?.answers.map(readLink).find((l) => l !== undefined)
    if (link?.peerIndex === undefined) {
      yield* Effect.ignore(context.remove(plan.hostIfName), { log: true })
      return yield* new NetlinkError({ op, errno: "OTHER", detail: "the kernel did not show the link it made" })
    }
    return link
  })

/** Writes `0` through a descriptor, on the thread pool, and closes it. */
const writeZero = (op: string, fd: number): Effect.Effect<void, NetlinkError> =>
  Effect.callback<void, NetlinkError>((resume) =>
    write(fd, "0", (error) => {
      closeSync(fd)
      resume(error ? Effect.fail(new NetlinkError({ op, errno: error.code ?? "OTHER" })) : Effect.void)
    })
  )

/** `disable_ipv6=0` where it is not; in `netns`, for the interfaces named. */
const enableIpv6 = (context: AttachContext, netns: Netns, names: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const opened = context.namespaces.visit(netns, () =>
      names.map((name) => `ipv6/conf/${name}/disable_ipv6`)
        .filter((name) => readSysctl(name) === "1").map((name) => ({ name, fd: openSysctl(name) })))
    return Effect.forEach(opened, ({ fd, name }) => writeZero(`set ${name}=0`, fd), { discard: true })
  })

const configure = (
  context: AttachContext,
  plan: PodLinkPlan,
  pod: RequestSocket,
  netns: Netns,
  link: Link,
  podMac: R.Mac
) =>
  Effect.gen(function*() {
    if (context.ipv6) {
      yield* Effect.try({
        try: () => context.namespaces.visit(netns, () => writeSysctl(`ipv6/conf/${plan.ifName}/accept_ra`, "0")),
        catch: (error) => new NetlinkError({ op: `set accept_ra=0 on ${plan.ifName}`, errno: errorCode(error) })
      })
    }
    if (plan.ipv6 !== undefined) {
      yield* enableIpv6(context, netns, [plan.ifName, "lo"])
      yield* enableIpv6(context, context.namespaces.host, [plan.hostIfName])
    }
    yield* context.podLane(run(pod, podSteps(plan, link.peerIndex ?? 0)))
    yield* run(context.host, hostSteps(plan, link, podMac, context.ipv6))
  })

const make = (context: AttachContext, plan: PodLinkPlan, pod: RequestSocket, netns: Netns) =>
  Effect.gen(function*() {
    const podMac = randomBytes(6)
    podMac[0] = ((podMac[0] ?? 0) & 0xfc) | 0x02
    const link = yield* create(context, plan, pod, netns, podMac)
    yield* configure(context, plan, pod, netns, link, podMac).pipe(
      Effect.onError(() =>
        Effect.andThen(
          context.podLane(pod.request(plan.anycast.map((a) => R.deleteAddress(1, a, bits(a))))),
          Effect.ignore(context.remove(plan.hostIfName), { log: true })
        )
      )
    )
    return { hostIfIndex: link.ifIndex, hostMac: HOST_MAC, podMac: R.macText(podMac) } satisfies PodLink
  })

export const attach = (context: AttachContext) => (plan: PodLinkPlan) =>
  Effect.acquireUseRelease(
    enterPod(context.namespaces, plan.netns),
    (netns) =>
      Effect.acquireUseRelease(
        openIn(context.namespaces, netns, plan.netns, () => new RequestSocket()),
        (pod) => make(context, plan, pod, netns),
        (pod) => Effect.sync(() => pod.close())
      ),
    (netns) => Effect.sync(() => closeNetns(netns))
  ).pipe(Effect.uninterruptible)
