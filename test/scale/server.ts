/** What an API server says of itself, and the kernel of its process. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { ApiServer } from "../../lab/ApiServer.ts"

export interface Usage {
  readonly pid: string
  /** Seconds. */
  readonly cpu: number
  /** MB. */
  readonly rss: number
}

/** Of the API server's process (proc(5)). */
export const usage = (api: ApiServer): Usage => {
  const pid = readFileSync(join(api.dir, "apiserver.pid"), "utf8").trim()
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
  return { pid, cpu: (Number(fields[11]) + Number(fields[12])) / 100, rss: Number(rss) / 1000 }
}

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Prometheus' text format, series that begin with one of these names. */
export const samples = async (api: ApiServer, ...names: ReadonlyArray<string>): Promise<ReadonlyArray<Sample>> => {
  const { body } = await api.call("GET", "/metrics")
  return String(body).split("\n").filter((line) => names.some((name) => line.startsWith(name))).map((line) => {
    const [, name = "", inner = "", value = ""] = /^([^{ ]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    const labels = Object.fromEntries(
      [...inner.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = "", text = ""]) => [key, text])
    )
    return { name, labels, value: Number(value) }
  })
}

/** Of those that have all these labels. */
export const sum = (all: ReadonlyArray<Sample>, name: string, labels: Readonly<Record<string, string>> = {}): number =>
  all.filter((it) => it.name === name && Object.entries(labels).every(([key, text]) => it.labels[key] === text))
    .reduce((total, { value }) => total + value, 0)
