/** What the dashboard shows: panels with their queries. `grafana.ts` makes Grafana's JSON of it, `draw.ts` a picture. */

export interface Query {
  /** PromQL; `$node` and `$__rate_interval` are Grafana's to fill in. */
  readonly expr: string
  /** Grafana's template, such as `{{peer}}`. */
  readonly legend: string
}

export interface Panel {
  readonly title: string
  readonly kind: "stat" | "timeseries"
  /** Of Grafana's units. */
  readonly unit: "short" | "s" | "ops" | "pps"
  readonly description: string
  readonly queries: ReadonlyArray<Query>
}

const quantile = (metric: string, by: string, labels = "") =>
  `histogram_quantile(0.99, sum by (${by}) (rate(${metric}_bucket{node=~"$node"${labels}}[$__rate_interval])))`

export const PANELS: ReadonlyArray<Panel> = [
  {
    title: "Nodes",
    kind: "stat",
    unit: "short",
    description: "Agents by version.",
    queries: [{ expr: `count by (version) (flock_build_info{node=~"$node"})`, legend: "{{version}}" }]
  },
  {
    title: "Sessions that are not Established",
    kind: "stat",
    unit: "short",
    description: "Of all that NodeConfigs have.",
    queries: [{
      expr: `count(flock_bgp_session_established{node=~"$node"}) - sum(flock_bgp_session_established{node=~"$node"})`,
      legend: "down"
    }]
  },
  {
    title: "Withdrawn nodes",
    kind: "stat",
    unit: "short",
    description: "By flock-agent withdraw.",
    queries: [{ expr: `sum(flock_bird_withdrawn{node=~"$node"})`, legend: "withdrawn" }]
  },
  {
    title: "Pods with addresses",
    kind: "stat",
    unit: "short",
    description: "Attachments.",
    queries: [{ expr: `sum(flock_allocations{node=~"$node"})`, legend: "attachments" }]
  },
  {
    title: "Anycast addresses",
    kind: "timeseries",
    unit: "short",
    description: "Installed: a pod is Ready. Announced: a router has it. They should be one line.",
    queries: [
      { expr: `sum(flock_anycast_installed{node=~"$node"})`, legend: "installed" },
      { expr: `sum(flock_anycast_announced{node=~"$node"})`, legend: "announced" }
    ]
  },
  {
    title: "From a pod's readiness to its route (99 %)",
    kind: "timeseries",
    unit: "s",
    description: "To the kernel, and to BIRD's export (a sample).",
    queries: [
      { expr: quantile("flock_anycast_kernel_seconds", "le"), legend: "kernel" },
      { expr: quantile("flock_anycast_export_seconds", "le"), legend: "export" }
    ]
  },
  {
    title: "Prefixes of sessions",
    kind: "timeseries",
    unit: "short",
    description: "Announced to the peer, and learned from it.",
    queries: [{
      expr: `sum by (peer, direction) (flock_bgp_prefixes{node=~"$node"})`,
      legend: "{{peer}} {{direction}}"
    }]
  },
  {
    title: "Changes of announcements",
    kind: "timeseries",
    unit: "ops",
    description: "Routes of protocol 201 per second: many are pods that flap.",
    queries: [{
      expr: `sum by (to) (rate(flock_anycast_transitions_total{node=~"$node"}[$__rate_interval]))`,
      legend: "{{to}}"
    }]
  },
  {
    title: "CNI calls that failed",
    kind: "timeseries",
    unit: "ops",
    description: "By verb and CNI error code.",
    queries: [{
      expr: `sum by (verb, code) (rate(flock_cni_calls_total{node=~"$node",code!="0"}[$__rate_interval])) > 0`,
      legend: "{{verb}} {{code}}"
    }]
  },
  {
    title: "CNI calls, duration (99 %)",
    kind: "timeseries",
    unit: "s",
    description: "In the agent.",
    queries: [{ expr: quantile("flock_cni_duration_seconds", "le, verb", `,verb=~"ADD|DEL"`), legend: "{{verb}}" }]
  },
  {
    title: "Free IPv4 addresses, the fewest",
    kind: "timeseries",
    unit: "short",
    description: "The ten nodes that have least.",
    queries: [{
      expr: `bottomk(10, flock_addresses{node=~"$node",family="ipv4",state="free"})`,
      legend: "{{node}}"
    }]
  },
  {
    title: "Packets that were dropped",
    kind: "timeseries",
    unit: "pps",
    description: "The ten pods that send most of what they may not.",
    queries: [{
      expr:
        `topk(10, sum by (namespace, pod, reason) (rate(flock_dropped_packets_total{node=~"$node"}[$__rate_interval])) > 0)`,
      legend: "{{namespace}}/{{pod}} {{reason}}"
    }]
  },
  {
    title: "Repairs",
    kind: "timeseries",
    unit: "ops",
    description: "What something else changed on hosts and the agent put right.",
    queries: [{
      expr: `sum by (what) (rate(flock_repairs_total{node=~"$node"}[$__rate_interval]))`,
      legend: "{{what}}"
    }]
  },
  {
    title: "Event loop delay while calls are served (99 %)",
    kind: "timeseries",
    unit: "s",
    description: "How late the agent is.",
    queries: [{ expr: quantile("flock_event_loop_delay_seconds", "le, node"), legend: "{{node}}" }]
  },
  {
    title: "Answers of the API server",
    kind: "timeseries",
    unit: "ops",
    description: "By code; 0: none came. None in standalone mode.",
    queries: [{
      expr: `sum by (code) (rate(flock_kube_requests_total{node=~"$node"}[$__rate_interval]))`,
      legend: "{{code}}"
    }]
  }
]
