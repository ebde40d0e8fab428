/** When the routers' traffic has left a node: from /proc/net/dev of its agent, which is in the node's network. Pure. */

/** Bytes towards pods, and from them, of all host ends (proc(5): columns of /proc/net/dev; TX of a host end is towards its pod). */
export const podBytes = (procNetDev: string): number =>
  procNetDev.split("\n").reduce((sum, line) => {
    const match = /^\s*(flock[0-9a-f]{8}):\s*(.*)$/.exec(line)
    const columns = match?.[2]?.trim().split(/\s+/).map(Number) ?? []
    return sum + (columns[0] ?? 0) + (columns[8] ?? 0)
  }, 0)

/** Bytes a second below which nothing of a client is left: neighbour discovery and probes of kubelet stay. */
export const QUIET_BYTES = 2000

/** Whether the last looks, a second apart, say that traffic has gone. */
export const isQuiet = (bytes: ReadonlyArray<number>, looks = 3): boolean => {
  const rates = bytes.slice(1).map((now, i) => now - (bytes[i] ?? now))
  return rates.length >= looks && rates.slice(-looks).every((rate) => rate >= 0 && rate < QUIET_BYTES)
}
