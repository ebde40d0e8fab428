/** manifests/overlays/monitoring: the dashboard and its picture are made, and each alert fires when it should and only then. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parse } from "yaml"
import { files } from "../../scripts/dashboard/main.ts"
import { PANELS } from "../../scripts/dashboard/panels.ts"

const ROOT = resolve(import.meta.dirname, "../..")

interface Alert {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string }
}
const { spec } = parse(readFileSync(join(ROOT, "manifests/overlays/monitoring/alerts.yaml"), "utf8"))
const alerts: ReadonlyArray<Alert> = spec.groups.flatMap(({ rules }: { readonly rules: ReadonlyArray<Alert> }) => rules)

describe("the dashboard", () => {
  it.each(Object.entries(files()))("%s is what scripts/dashboard/main.ts makes", (file, content) => {
    assert.strictEqual(readFileSync(join(ROOT, file), "utf8"), content)
  })

  it("asks only for metrics that the reference has, as do the alerts", () => {
    const reference = readFileSync(join(ROOT, "docs/reference.md"), "utf8")
    const queries = [
      ...PANELS.flatMap((panel) => panel.queries.map(({ expr }) => expr)),
      ...alerts.map(({ expr }) => expr)
    ]
    const names = new Set(queries.flatMap((expr) => expr.match(/flock_[a-z0-9_]+/g) ?? []))
    assert.isAbove(names.size, 15)
    for (const name of names) assert.include(reference, `| \`${name.replace(/_(bucket|count|sum)$/, "")}\` |`)
  })
})

/** `values` in promtool's notation, a sample every minute: when it fires, and a neighbour for which it must not. */
interface Case {
  readonly alert: string
  readonly fires: Readonly<Record<string, string>>
  readonly quiet: Readonly<Record<string, string>>
}

const session = "flock_bgp_session_established{node=\"a\",peer=\"192.0.2.1\",asn=\"65000\"}"
const withdrawn = "flock_bird_withdrawn{node=\"a\"}"
const announced = "flock_anycast_announced{node=\"a\"}"
const installed = "flock_anycast_installed{node=\"a\"}"
const add = (code: number) => `flock_cni_calls_total{node="a",verb="ADD",code="${code}"}`

/** Constant for a day, or counting up for an hour and then no more. */
const always = (value: number) => `${value}x1440`
const counting = "0+1x1440"

const CASES: ReadonlyArray<Case> = [
  {
    alert: "FlockAgentDown",
    fires: { "up{job=\"flock-system/flock-agent\",node=\"a\"}": always(0) },
    quiet: { "up{job=\"flock-system/flock-agent\",node=\"a\"}": always(1), "up{job=\"other\",node=\"a\"}": always(0) }
  },
  {
    alert: "FlockCannotServe",
    fires: { "flock_cni_calls_total{node=\"a\",verb=\"STATUS\",code=\"50\"}": counting },
    quiet: { "flock_cni_calls_total{node=\"a\",verb=\"STATUS\",code=\"0\"}": counting }
  },
  {
    alert: "FlockNodeCutOff",
    fires: { [session]: always(0), [withdrawn]: always(0) },
    quiet: { [session]: always(0), [session.replace("2.1", "2.2")]: always(1), [withdrawn]: always(0) }
  },
  {
    alert: "FlockSessionDown",
    fires: { [session]: always(0), [session.replace("2.1", "2.2")]: always(1), [withdrawn]: always(0) },
    quiet: { [session]: always(0), [withdrawn]: always(1) }
  },
  { alert: "FlockWithdrawn", fires: { [withdrawn]: always(1) }, quiet: { [withdrawn]: always(0) } },
  {
    alert: "FlockBirdDown",
    fires: { "flock_bird_up{node=\"a\"}": always(0) },
    quiet: { "flock_bird_up{node=\"a\"}": always(1) }
  },
  {
    alert: "FlockConfigStale",
    fires: { "flock_bird_config_stale{node=\"a\"}": always(1) },
    quiet: { "flock_bird_config_stale{node=\"a\"}": always(0) }
  },
  {
    alert: "FlockNotAnnounced",
    fires: { [announced]: always(1), [installed]: always(2), [withdrawn]: always(0) },
    quiet: { [announced]: always(0), [installed]: always(2), [withdrawn]: always(1) }
  },
  {
    alert: "FlockRoutesRefused",
    fires: { "flock_anycast_failures_total{node=\"a\"}": counting },
    quiet: { "flock_anycast_failures_total{node=\"a\"}": always(3) }
  },
  {
    alert: "FlockUnreachablePods",
    fires: { "flock_unreachable_attachments{node=\"a\",reason=\"cut\"}": always(1) },
    quiet: { "flock_unreachable_attachments{node=\"a\",reason=\"link-down\"}": always(1) }
  },
  { alert: "FlockAddsFail", fires: { [add(101)]: counting }, quiet: { [add(100)]: counting, [add(0)]: counting } },
  { alert: "FlockAddsWait", fires: { [add(11)]: counting }, quiet: { [add(11)]: always(5) } },
  {
    alert: "FlockAddressesLow",
    fires: { "flock_addresses{node=\"a\",family=\"ipv4\",state=\"free\"}": always(9) },
    quiet: {
      "flock_addresses{node=\"a\",family=\"ipv4\",state=\"free\"}": always(10),
      "flock_addresses{node=\"a\",family=\"ipv4\",state=\"used\"}": always(1)
    }
  },
  {
    alert: "FlockBfdDown",
    fires: {
      "flock_bfd_session_up{node=\"a\",peer=\"192.0.2.1\",asn=\"1\"}": always(0),
      "flock_bgp_session_established{node=\"a\",peer=\"192.0.2.1\",asn=\"1\"}": always(1)
    },
    quiet: {
      "flock_bfd_session_up{node=\"a\",peer=\"192.0.2.1\",asn=\"1\"}": always(0),
      "flock_bgp_session_established{node=\"a\",peer=\"192.0.2.1\",asn=\"1\"}": always(0)
    }
  },
  {
    alert: "FlockUnusableRoutes",
    fires: { "flock_bgp_routes_unusable{node=\"a\",peer=\"192.0.2.1\",asn=\"1\"}": always(2) },
    quiet: { "flock_bgp_routes_unusable{node=\"a\",peer=\"192.0.2.1\",asn=\"1\"}": always(0) }
  },
  {
    alert: "FlockApiServerSilent",
    fires: { "flock_kube_watch_silent_seconds{node=\"a\",resource=\"pods\"}": always(301) },
    quiet: { "flock_kube_watch_silent_seconds{node=\"a\",resource=\"pods\"}": always(150) }
  },
  {
    alert: "FlockPartFailed",
    fires: { "flock_loop_failures_total{node=\"a\",loop=\"BIRD\"}": counting },
    quiet: { "flock_loop_failures_total{node=\"a\",loop=\"BIRD\"}": always(0) }
  },
  {
    alert: "FlockUnreadableRecords",
    fires: { "flock_unreadable_records{node=\"a\",kind=\"del\"}": always(1) },
    quiet: { "flock_unreadable_records{node=\"a\",kind=\"del\"}": always(0) }
  },
  {
    alert: "FlockPacketsDropped",
    fires: { "flock_dropped_packets_total{node=\"a\",namespace=\"n\",pod=\"p\",reason=\"spoofed\"}": "0+1200x1440" },
    quiet: { "flock_dropped_packets_total{node=\"a\",namespace=\"n\",pod=\"p\",reason=\"spoofed\"}": counting }
  }
]

/** The labels that an alert has, from its own series: those of the first one, without what a `sum by` leaves out. */
const query = (name: string) => `count(ALERTS{alertname="${name}",alertstate="firing"})`
const minutes = (text = "0m") => text.endsWith("h") ? Number.parseInt(text) * 60 : Number.parseInt(text)

/** promtool's verdict on the rules and these series; empty if all is as expected. */
const verdict = (tests: ReadonlyArray<unknown>): string => {
  const directory = mkdtempSync(join(tmpdir(), `flock-rules-${process.pid}-`))
  try {
    writeFileSync(join(directory, "rules.json"), JSON.stringify(spec))
    const run = { rule_files: ["rules.json"], evaluation_interval: "1m", tests }
    writeFileSync(join(directory, "tests.json"), JSON.stringify(run))
    execFileSync("promtool", ["test", "rules", join(directory, "tests.json")], { encoding: "utf8", stdio: "pipe" })
    return ""
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr: string; readonly stdout: string }
    return `${stdout}${stderr}`
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const test = (series: Readonly<Record<string, string>>, expr: string, at: number, value: number | undefined) => ({
  interval: "1m",
  input_series: Object.entries(series).map(([series, values]) => ({ series, values })),
  promql_expr_test: [{
    expr,
    eval_time: `${at}m`,
    exp_samples: value === undefined ? [] : [{ labels: "{}", value }]
  }]
})

describe("the alerts", () => {
  it("each has a case here, words and a severity", () => {
    assert.deepStrictEqual(CASES.map(({ alert }) => alert), alerts.map(({ alert }) => alert))
    for (const { annotations, labels } of alerts) {
      assert.oneOf(labels.severity, ["critical", "warning"])
      assert.isNotEmpty(annotations.summary)
      assert.isNotEmpty(annotations.description)
    }
  })

  it.each(CASES)("$alert fires after its time, not before, and not for its neighbour", ({ alert, fires, quiet }) => {
    const wait = minutes(alerts.find((rule) => rule.alert === alert)?.for)
    const early = wait < 2 ? [] : [test(fires, query(alert), wait - 1, undefined)]
    assert.strictEqual(
      verdict([...early, test(fires, query(alert), wait + 30, 1), test(quiet, query(alert), wait + 30, undefined)]),
      ""
    )
  })

  it("the test is one that fails", () => {
    assert.include(verdict([test({ [withdrawn]: always(0) }, query("FlockWithdrawn"), 800, 1)]), "FAILED")
  })
})
