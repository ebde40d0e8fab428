/** HTTP through the lab: a server in a pod, and clients that make a new connection for each request. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { end, inside } from "./exec.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

/** One fetch; times in milliseconds since the epoch. */
export interface Fetch {
  readonly url: string
  readonly start: number
  readonly end: number
  /** Name of the pod that answered. */
  readonly pod?: string
  readonly error?: string
}

export interface FetchLoop {
  /** Grows while it runs. */
  readonly fetches: ReadonlyArray<Fetch>
  readonly ended: Promise<void>
  readonly stop: () => Promise<void>
}

/** `/?ms=N` answers after N milliseconds, with the server's name; a line is printed when the request arrives. */
const SERVER = `import { createServer } from "node:http"
createServer((request, response) => {
  const ms = Number(new URL(request.url, "http://pod").searchParams.get("ms") ?? 0)
  response.setHeader("connection", "close")
  console.log(request.url)
  setTimeout(() => response.end(process.argv[2]), ms)
}).listen(80, "::")
`

/** Fetches each URL again and again, a new connection each time, and prints a line for each fetch. */
const CLIENT = `import { get } from "node:http"
const now = () => performance.timeOrigin + performance.now()
const fetchOne = (url) => new Promise((done) => {
  const start = now()
  const request = get(url, { agent: false, timeout: 3000 }, (response) => {
    let pod = ""
    response.on("data", (chunk) => { pod += chunk })
    response.on("end", () => done({ url, start, end: now(), pod }))
    response.on("error", (error) => done({ url, start, end: now(), error: String(error) }))
  })
  request.on("timeout", () => request.destroy(new Error("timeout")))
  request.on("error", (error) => done({ url, start, end: now(), error: String(error) }))
})
const [times, ...urls] = process.argv.slice(2)
await Promise.all(urls.map(async (url) => {
  for (let i = 0; i < Number(times); i++) {
    console.log(JSON.stringify(await fetchOne(url)))
    await new Promise((done) => setTimeout(done, 2))
  }
}))
`

export const urlOf = (address: string, query = ""): string =>
  `http://${address.includes(":") ? `[${address}]` : address}/${query}`

/** Runs a script in a namespace; `onLine` gets what it prints. */
const script = (
  world: World,
  netns: string,
  name: string,
  source: string,
  args: ReadonlyArray<string>,
  onLine: (line: string) => void
) => {
  const file = join(world.directory, name)
  writeFileSync(file, source)
  const child = world.spawn([process.execPath, file, ...args], { netns })
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  lines.on("line", onLine)
  return { child, ended: new Promise<void>((done) => lines.on("close", done)) }
}

/** Serves `name` on port 80 of a namespace, both families. */
export const serveHttp = async (world: World, netns: string, name: string, onRequest: () => void): Promise<void> => {
  script(world, netns, "server.mjs", SERVER, [name], onRequest)
  await until(`${name} serves`, async () => await inside(netns, "ss", "-Htnl", "sport", "=", ":80") !== "")
}

/** Fetches every URL in a loop, `times` at most. */
export const fetchLoop = (
  world: World,
  netns: string,
  urls: ReadonlyArray<string>,
  times = 1_000_000
): FetchLoop => {
  const fetches: Array<Fetch> = []
  const { child, ended } = script(
    world,
    netns,
    "client.mjs",
    CLIENT,
    [String(times), ...urls],
    (line) => fetches.push(JSON.parse(line))
  )
  return { fetches, ended, stop: async () => void (await end(child), await ended) }
}

export const fetchOnce = async (world: World, netns: string, url: string): Promise<Fetch> => {
  const { ended, fetches } = fetchLoop(world, netns, [url], 1)
  await ended
  if (fetches[0] === undefined) throw new Error(`no answer for ${url}`)
  return fetches[0]
}
