/** Reads host ends as they are, and sends what puts them right. */
import { Effect } from "effect"
import { closeSync, write } from "node:fs"
import { constants } from "node:os"
import { equalCidr, formatAddress } from "../domain/Ip.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import * as Answers from "./answers.ts"
import type { Received } from "./codec.ts"
import * as C from "./constants.ts"
import { isSettled } from "./hostEnd.ts"
import { GATEWAY6_NETWORK, hostDifferences } from "./hostItems.ts"
import type { SeenHostEnd } from "./hostLinkItems.ts"
import { errorCode, type Namespaces, openSysctl } from "./namespace.ts"
import { type HostDifference, NetlinkError, type PodLinkPlan, PROTOCOL_POD } from "./Netlink.ts"
import * as R from "./requests.ts"
import { routes } from "./routes.ts"
import { type DumpSocket, failure, REJECTED, type Reply, type RequestSocket } from "./socket.ts"

const { EADDRNOTAVAIL, EEXIST, ENODEV } = constants.errno

/** There already, or gone already. */
const DONE = new Set<number>([0, EEXIST, EADDRNOTAVAIL])

export interface HostContext {
  readonly namespaces: Namespaces
  readonly dumps: DumpSocket
  /** Not the one of ADD, which must not wait behind a look at a hundred links. */
  readonly requests: RequestSocket
  /** The kernel has IPv6. */
  readonly ipv6: boolean
}

/** Up to here links are asked for one by one; beyond, whole tables are read. */
const FEW = 4

const readEnds = (messages: ReadonlyArray<Received>) =>
  Answers.collect(messages, (message) => {
    const link = Answers.readHostEnd(message)
    return link && { ...link, settled: isSettled(message, link.up) }
  })

/** Their links by the plan's name; a renamed one is known by its alias where all links are read. */
const findLinks = ({ dumps, requests }: HostContext, plans: ReadonlyArray<PodLinkPlan>) =>
  Effect.gen(function*() {
    if (plans.length <= FEW) {
      const replies = yield* requests.request(plans.map(({ hostIfName }) => R.getLinkByName(hostIfName)))
      const found = new Map(
        replies.flatMap(({ answers }, i) =>
          readEnds(answers).map((link) => [plans[i]?.hostIfName ?? "", link] as const)
        )
      )
      if (found.size === plans.length) return found
    }
    const all = readEnds(yield* dumps.dump("list links", R.dumpLinks))
    const byName = new Map(all.map((link) => [link.ifName, link]))
    const byAlias = new Map(all.map((link) => [link.alias, link]))
    return new Map(plans.flatMap(({ alias, hostIfName }) => {
      const link = byName.get(hostIfName) ?? byAlias.get(alias)
      return link === undefined ? [] : [[hostIfName, link] as const]
    }))
  })

const byFamily = <A>(read: (family: 4 | 6) => Effect.Effect<ReadonlyArray<A>, NetlinkError>) =>
  Effect.map(Effect.forEach([6, 4] as const, read), (lists) => lists.flat())

/** Of these links, or of all where they are many. */
const dumpEach = (
  { dumps }: HostContext,
  indices: ReadonlyArray<number>,
  op: string,
  message: (index: number) => Parameters<DumpSocket["dump"]>[1]
) =>
  Effect.map(
    Effect.forEach(indices.length <= FEW ? indices : [0], (index) => dumps.dump(op, message(index))),
    (lists) => lists.flat()
  )

const macOf = (reply: Reply | undefined): string | undefined =>
  reply?.answers.map((answer) => Answers.readLink(answer)?.mac).find((mac) => mac !== undefined && mac !== "")

const see = (context: HostContext, plans: ReadonlyArray<PodLinkPlan>) =>
  Effect.gen(function*() {
    const links = yield* findLinks(context, plans)
    const there = plans.flatMap((plan) => {
      const link = links.get(plan.hostIfName)
      return link === undefined ? [] : [{ plan, link }]
    })
    const indices = there.map(({ link }) => link.ifIndex)
    const addresses = Answers.collect(
      context.ipv6 ? yield* dumpEach(context, indices, "list IPv6 addresses", (i) => R.dumpAddresses(6, i)) : [],
      Answers.readAddress
    )
    const neighbours = Answers.collect(
      yield* byFamily((family) =>
        dumpEach(context, indices, `list IPv${family} neighbours`, (i) => R.dumpNeighbours(family, i))
      ),
      Answers.readNeighbour
    )
    const connected = context.ipv6
      ? Answers.collect(
        yield* context.dumps.dump("list IPv6 routes of links", R.dumpRoutes(6, C.RTPROT_KERNEL), true),
        Answers.readRoute
      ).filter(({ destination }) => equalCidr(destination, GATEWAY6_NETWORK))
      : []
    const connectedOf = new Set(connected.flatMap(({ nextHops }) => nextHops.map(({ ifIndex }) => ifIndex)))
    const podRoutes = yield* routes(context.dumps, PROTOCOL_POD)
    const routesTo = Map.groupBy(podRoutes, ({ destination: { base, family } }) => `${family}/${base}`)
    const asked = there.flatMap(({ link, plan }) => [
      ...(link.peerIndex === undefined || link.peerNsid === undefined ? [] : [
        { plan, link, address: undefined, message: R.getLink(link.peerIndex, link.peerNsid) }
      ]),
      ...primariesOf(plan.addresses).map((address) => ({ plan, link, address, message: R.matchRoute(address) }))
    ])
    const replies = yield* context.requests.request(asked.map(({ message }) => message))
    const macs = new Map<string, string>()
    const foreign = new Map<string, string>()
    asked.forEach(({ address, link, plan }, i) => {
      const reply = replies[i]
      const mac = address === undefined ? macOf(reply) : undefined
      if (mac !== undefined) macs.set(plan.hostIfName, mac)
      if (address === undefined || reply === undefined) return
      const route = reply.answers.find((answer) => Answers.isForeign(answer, link.ifIndex))
      if (route !== undefined) foreign.set(formatAddress(address), Answers.describeRoute(route))
      // Without a route of ours it may be the node's own prefix that says so.
      else if (REJECTED.has(reply.ack.code) && routesTo.has(`${address.family}/${address.value}`)) {
        foreign.set(formatAddress(address), "a route that rejects it")
      }
    })
    const addressesOf = Map.groupBy(addresses, ({ ifIndex }) => ifIndex)
    const neighboursOf = Map.groupBy(neighbours, ({ ifIndex }) => ifIndex)
    return new Map(
      there.map((
        { link, plan }
      ): readonly [string, SeenHostEnd & { readonly link: { readonly settled: boolean } }] => [plan.hostIfName, {
        link,
        connected: connectedOf.has(link.ifIndex),
        addresses: addressesOf.get(link.ifIndex) ?? [],
        neighbours: neighboursOf.get(link.ifIndex) ?? [],
        routes: primariesOf(plan.addresses).flatMap(({ family, value }) => routesTo.get(`${family}/${value}`) ?? []),
        foreignRoute: (address) => foreign.get(formatAddress(address)),
        podMac: macs.get(plan.hostIfName)
      }])
    )
  })

/** What differs from the plans, and which of their pods have set their end down. */
export const lookAtHostEnds = (context: HostContext, plans: ReadonlyArray<PodLinkPlan>) =>
  plans.length === 0 ? Effect.succeed({ differences: [], links: [] }) : Effect.map(see(context, plans), (seen) => ({
    differences: plans.flatMap((plan) => hostDifferences(plan, seen.get(plan.hostIfName), context.ipv6)),
    links: [...seen].map(([hostIfName, { link }]) => ({
      hostIfName,
      ifIndex: link.ifIndex,
      up: link.up,
      carrier: link.carrier,
      settled: link.settled
    }))
  }))

/** On the thread pool: the kernel waits for RTNL in it. */
const enableIpv6 = ({ namespaces }: HostContext, ifName: string): Effect.Effect<string | undefined> =>
  Effect.callback<string | undefined>((resume) => {
    try {
      const fd = namespaces.visit(namespaces.host, () => openSysctl(`ipv6/conf/${ifName}/disable_ipv6`))
      write(fd, "0", (error) => {
        closeSync(fd)
        resume(Effect.succeed(error ? errorCode(error) : undefined))
      })
    } catch (error) {
      resume(Effect.succeed(errorCode(error)))
    }
  })

type Repairable = HostDifference & { readonly repair: NonNullable<HostDifference["repair"]> }

/** In the order given; the result has those that failed. */
export const repairHostEnds = (context: HostContext, differences: ReadonlyArray<HostDifference>) =>
  Effect.gen(function*() {
    const todo = differences.filter((difference): difference is Repairable => difference.repair !== undefined)
    const failed: Array<{ readonly difference: HostDifference; readonly error: NetlinkError }> = []
    const opOf = ({ hostIfName, what }: HostDifference) => `restore ${what} of ${hostIfName}`
    for (const difference of todo.filter(({ repair }) => repair.enableIpv6)) {
      const errno = yield* enableIpv6(context, difference.hostIfName)
      if (errno !== undefined) failed.push({ difference, error: new NetlinkError({ op: opOf(difference), errno }) })
    }
    const sent = todo.flatMap((difference) => difference.repair.messages.map((message) => ({ difference, message })))
    const replies = yield* context.requests.request(sent.map(({ message }) => message))
    sent.forEach(({ difference }, i) => {
      const ack = replies[i]?.ack ?? { code: ENODEV }
      if (!DONE.has(ack.code)) failed.push({ difference, error: failure(opOf(difference), ack) })
    })
    return failed
  })
