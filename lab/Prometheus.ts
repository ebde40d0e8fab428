/** A Prometheus that scrapes one node's agent every second, in the node's network namespace. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { AgentNode } from "./AgentNode.ts"
import { until } from "./until.ts"

const ADDRESS = "127.0.0.1:9090"

export interface Series {
  readonly metric: Readonly<Record<string, string>>
  /** Of a query: one sample, seconds and value. */
  readonly value: readonly [number, string]
  /** Of a query over time. */
  readonly values: ReadonlyArray<readonly [number, string]>
}

export interface Rule {
  readonly name: string
  readonly query: string
  readonly health: string
  readonly lastError?: string
  readonly alerts: ReadonlyArray<{ readonly state: string; readonly labels: Readonly<Record<string, string>> }>
}

interface Result {
  readonly result: ReadonlyArray<Series>
}

export class Prometheus {
  readonly #node: AgentNode

  private constructor(node: AgentNode) {
    this.#node = node
  }

  /** `groups`: of rules, as a PrometheusRule's `spec` has them. The target's labels are those of the PodMonitor. */
  static async open(node: AgentNode, groups: ReadonlyArray<unknown> = []): Promise<Prometheus> {
    const directory = node.world.folder("prometheus")
    mkdirSync(join(directory, "data"))
    writeFileSync(join(directory, "rules.json"), JSON.stringify({ groups }))
    writeFileSync(
      join(directory, "prometheus.json"),
      JSON.stringify({
        global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
        rule_files: [join(directory, "rules.json")],
        scrape_configs: [{
          job_name: "flock-system/flock-agent",
          static_configs: [{ targets: ["127.0.0.1:9476"], labels: { node: node.name } }]
        }]
      })
    )
    const flags = [
      `--config.file=${join(directory, "prometheus.json")}`,
      `--storage.tsdb.path=${join(directory, "data")}`,
      `--web.listen-address=${ADDRESS}`,
      "--log.level=warn"
    ]
    node.world.spawn(["prometheus", ...flags], { netns: node.netns, log: join(directory, "log") })
    await until("Prometheus is ready", () => node.inside("curl", "-sf", `http://${ADDRESS}/-/ready`), 30)
    return new Prometheus(node)
  }

  async #get<A>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<A> {
    const data = Object.entries(parameters).flatMap(([key, value]) => ["--data-urlencode", `${key}=${value}`])
    const answer = JSON.parse(await this.#node.inside("curl", "-sG", `http://${ADDRESS}/api/v1/${path}`, ...data))
    if (answer.status !== "success") throw new Error(`${path} ${JSON.stringify(parameters)}: ${answer.error}`)
    return answer.data
  }

  /** Series of an instant query; fails with Prometheus' words. */
  async query(query: string): Promise<ReadonlyArray<Series>> {
    return (await this.#get<Result>("query", { query })).result
  }

  /** The same over the last `seconds`, one sample every `step`. */
  async range(query: string, seconds: number, step: number): Promise<ReadonlyArray<Series>> {
    const end = Date.now() / 1000
    const times = { start: String(end - seconds), end: String(end), step: String(step) }
    return (await this.#get<Result>("query_range", { query, ...times })).result
  }

  async rules(): Promise<ReadonlyArray<Rule>> {
    const { groups } = await this.#get<{ readonly groups: ReadonlyArray<{ readonly rules: ReadonlyArray<Rule> }> }>(
      "rules"
    )
    return groups.flatMap(({ rules }) => rules)
  }
}

/** A panel's query as Grafana would send it. */
export const filled = (expr: string, interval = "10s"): string =>
  expr.replaceAll("$node", ".*").replaceAll("$__rate_interval", interval)
