/** Routes, links and addresses of the host. */
import { Effect } from "effect"
import { constants } from "node:os"
import { equalAddress, formatAddress, formatCidr, type IpAddress } from "../domain/Ip.ts"
import * as Answers from "./answers.ts"
import type { Message } from "./codec.ts"
import * as C from "./constants.ts"
import {
  type BirdRoute,
  type HostInterface,
  type HostRoute,
  NetlinkError,
  type PodAddress,
  PROTOCOL_BIRD,
  type RouterNeighbour,
  type Way
} from "./Netlink.ts"
import * as R from "./requests.ts"
import { type DumpSocket, failure, REJECTED, type RequestSocket } from "./socket.ts"

const { EEXIST, ESRCH } = constants.errno

const families = [6, 4] as const

/** Routes in the main table, of one protocol or (0) of all, IPv6 first. */
export const routes = (dumps: DumpSocket, protocol = 0): Effect.Effect<ReadonlyArray<HostRoute>, NetlinkError> =>
  Effect.forEach(families, (family) =>
    Effect.map(
      dumps.dump(`list IPv${family} routes of protocol ${protocol}`, R.dumpRoutes(family, protocol), family === 6).pipe(
        // A new namespace has no table at all until its first address.
        Effect.catchIf((error) => error.errno === "ENOENT", () => Effect.succeed([]))
      ),
      (messages) =>
        Answers.collect(messages, Answers.readRoute).filter((route) => protocol === 0 || route.protocol === protocol)
    )).pipe(Effect.map((lists) => Answers.mergeRoutes(lists.flat())))

type Failed = ReadonlyArray<{ readonly route: HostRoute; readonly error: NetlinkError }>

const batch = (
  socket: RequestSocket,
  verb: string,
  list: ReadonlyArray<HostRoute>,
  message: (route: HostRoute) => Message,
  success: number
): Effect.Effect<Failed> =>
  list.length === 0 ?
    Effect.succeed([]) :
    Effect.map(socket.request(list.map(message)), (replies) =>
      list.flatMap((route, i) => {
        const ack = replies[i]?.ack ?? { code: 0 }
        return ack.code === 0 || ack.code === success
          ? []
          : [{ route, error: failure(`${verb} route ${formatCidr(route.destination)}`, ack) }]
      }))

export const putRoutes = (socket: RequestSocket, list: ReadonlyArray<HostRoute>): Effect.Effect<Failed> =>
  batch(socket, "put", list, R.replaceRoute, 0)

export const deleteRoutes = (socket: RequestSocket, list: ReadonlyArray<HostRoute>): Effect.Effect<Failed> =>
  batch(socket, "delete", list, (route) => R.deleteRoute(route.destination, route.protocol), ESRCH)

export const birdRoutes = (dumps: DumpSocket): Effect.Effect<ReadonlyArray<BirdRoute>, NetlinkError> =>
  Effect.forEach(
    families,
    (family) =>
      dumps.dump(`list BIRD's IPv${family} routes`, R.dumpRoutes(family, PROTOCOL_BIRD, C.RTN_UNSPEC), family === 6)
        .pipe(
          Effect.catchIf((error) => error.errno === "ENOENT", () => Effect.succeed([]))
        )
  ).pipe(Effect.map((lists) => {
    const routes = Answers.collect(lists.flat(), Answers.readBirdRoute)
    // IPv6 says each way of a multipath route by itself.
    return [...new Map(routes.map((it) => [`${formatCidr(it.destination)} ${it.metric}`, it])).values()]
  }))

export const deleteBirdRoutes = (
  socket: RequestSocket,
  list: ReadonlyArray<BirdRoute>
): Effect.Effect<void, NetlinkError> =>
  Effect.flatMap(socket.request(list.map(R.deleteBirdRoute)), (replies) => {
    const failed = replies.findIndex(({ ack }) => ack.code !== 0 && ack.code !== ESRCH)
    const route = list[failed]
    return route === undefined
      ? Effect.void
      : Effect.fail(
        failure(`delete BIRD's route ${formatCidr(route.destination)}`, replies[failed]?.ack ?? { code: 0 })
      )
  })

/** Of all interfaces in the namespace that has this ID here. */
export const addressesIn = (
  dumps: DumpSocket,
  nsid: number
): Effect.Effect<ReadonlyArray<PodAddress>, NetlinkError> =>
  Effect.forEach(
    families,
    (family) => dumps.dump(`list IPv${family} addresses of namespace ${nsid}`, R.dumpAddresses(family, 0, nsid))
  ).pipe(
    Effect.map((lists) =>
      Answers.collect(lists.flat(), Answers.readAddress).map(({ address, ifIndex }) => ({ address, ifIndex }))
    )
  )

export const interfaces = (dumps: DumpSocket): Effect.Effect<ReadonlyArray<HostInterface>, NetlinkError> =>
  Effect.gen(function*() {
    const links = Answers.collect(yield* dumps.dump("list links", R.dumpLinks), (message) => {
      const link = Answers.readLink(message)
      return link && { ...link, kind: Answers.readKind(message) }
    })
    const lists = yield* Effect.forEach(
      families,
      (family) => dumps.dump(`list IPv${family} addresses`, R.dumpAddresses(family, 0))
    )
    const addresses = Map.groupBy(
      Answers.collect(lists.flat(), Answers.readAddress).filter((a) => a.usable),
      (a) => a.ifIndex
    )
    return links.map(({ ifIndex, ifName, kind, mtu, up }) => ({
      ifName,
      ifIndex,
      ...(kind === undefined ? {} : { kind }),
      mtu,
      up,
      addresses: (addresses.get(ifIndex) ?? []).map(({ address, prefix, standing }) => ({ address, prefix, standing }))
    }))
  })

export const routers = (
  dumps: DumpSocket,
  ifIndexes: ReadonlyArray<number>
): Effect.Effect<ReadonlyArray<RouterNeighbour>, NetlinkError> =>
  Effect.forEach(
    ifIndexes,
    (ifIndex) => dumps.dump(`list neighbours of interface ${ifIndex}`, R.dumpNeighbours(6, ifIndex))
  ).pipe(Effect.map((lists) =>
    // Kernels that do not filter a dump show every interface.
    Answers.collect(lists.flat(), Answers.readRouter).filter(({ ifIndex }) => ifIndexes.includes(ifIndex))
  ))

export const probeRouters = (socket: RequestSocket, list: ReadonlyArray<RouterNeighbour>): Effect.Effect<void> =>
  list.length === 0
    ? Effect.void
    : Effect.asVoid(socket.request(list.map(({ address, ifIndex }) => R.probeRouter(ifIndex, address))))

/**
 * Makes the host answer for these IPv4 gateways, and for no others that it once did. They lie in the node's prefix, which
 * is an `unreachable` route: ARP for them would have no answer, for `proxy_arp` needs a unicast route by another link. The
 * result has those for which it did not.
 */
export const answerFor = (
  socket: RequestSocket,
  dumps: DumpSocket,
  gateways: ReadonlyArray<IpAddress>
): Effect.Effect<ReadonlyArray<IpAddress>, NetlinkError> =>
  Effect.gen(function*() {
    const there = Answers.collect(yield* dumps.dump("list local routes", R.dumpLocal(4)), Answers.readOurLocal)
    const isIn = (list: ReadonlyArray<IpAddress>) => (a: IpAddress) => list.some((other) => equalAddress(other, a))
    const missing = gateways.filter((a) => !isIn(there)(a))
    const gone = there.filter((a) => !isIn(gateways)(a))
    const replies = yield* socket.request([...missing.map(R.addLocal), ...gone.map(R.deleteLocal)])
    const failed = replies.findIndex(({ ack }) => ack.code !== 0 && ack.code !== EEXIST && ack.code !== ESRCH)
    if (failed < 0) return missing
    const address = [...missing, ...gone][failed] as IpAddress
    return yield* failure(`answer for gateway ${formatAddress(address)}`, replies[failed]?.ack ?? { code: 0 })
  })

export const outgoing = (
  socket: RequestSocket,
  address: IpAddress
): Effect.Effect<Way | undefined, NetlinkError> =>
  Effect.flatMap(socket.request([R.lookupRoute(address)]), ([reply]) =>
    reply === undefined || reply.ack.code === 0
      ? Effect.succeed(Answers.readLookup(reply?.answers[0]))
      : REJECTED.has(reply.ack.code)
      ? Effect.succeed(undefined)
      : Effect.fail(failure(`look up the route to ${formatAddress(address)}`, reply.ack)))
