/** Pure readers of files in `/proc/net` (proc(5)). Lines that are not understood are left out. */
import { formatCidr, fromBytes, networkOf } from "../domain/Ip.ts"
import { addressOfWords } from "../netlink/listeners.ts"
import type { RouteLine } from "./facts.ts"

const fields = (text: string): ReadonlyArray<ReadonlyArray<string>> =>
  text.split("\n").slice(1).map((line) => line.trim().split(/\s+/)).filter((line) => line.length > 3)

const hexBytes = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))

const ones = (mask: Uint8Array): number =>
  mask.reduce((bits, byte) => bits + byte.toString(2).replaceAll("0", "").length, 0)

/** `/proc/net/route`: the main table's IPv4 routes. */
export const parseRoutes4 = (text: string): ReadonlyArray<RouteLine> =>
  fields(text).flatMap(([ifName = "", destination = "", , , , , metric = "", mask = ""]) =>
    !/^[0-9A-F]{8}$/.test(destination) || !/^[0-9A-F]{8}$/.test(mask) ? [] : [{
      ifName,
      destination: formatCidr(networkOf(addressOfWords(destination), ones(hexBytes(mask)))),
      metric: Number(metric)
    }]
  )

/** `/proc/net/ipv6_route`: all IPv6 routes; no heading. */
export const parseRoutes6 = (text: string): ReadonlyArray<RouteLine> =>
  fields(`\n${text}`).flatMap((line) => {
    const [destination = "", length = "", , , , metric = ""] = line
    return !/^[0-9a-f]{32}$/.test(destination) || !/^[0-9a-f]{2}$/.test(length) ? [] : [{
      ifName: line.at(-1) ?? "",
      destination: formatCidr(networkOf(fromBytes(hexBytes(destination)), Number.parseInt(length, 16))),
      metric: Number.parseInt(metric, 16)
    }]
  })

/** Entries of a neighbour table, from `/proc/net/stat/arp_cache` or `ndisc_cache` (each CPU's line says the same). */
export const parseNeighbourCount = (text: string): number => Number.parseInt(fields(text)[0]?.[0] ?? "0", 16)

/** Of the sockets that are bound to `path`, from `/proc/net/unix`: the last columns are inode and path. */
export const unixInodes = (text: string, path: string): ReadonlyArray<string> =>
  fields(text).flatMap((columns) => columns[7] === path ? [columns[6] ?? ""] : [])
