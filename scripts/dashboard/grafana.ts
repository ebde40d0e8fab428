/** Grafana's JSON of the panels (dashboard schema 39, Grafana 10 and newer). */
import { type Panel, PANELS } from "./panels.ts"

const SOURCE = { type: "prometheus", uid: "$datasource" }

const STATS = PANELS.filter(({ kind }) => kind === "stat").length

/** A row of small ones, then two a row, on Grafana's 24 columns. */
const place = (index: number) =>
  index < STATS
    ? { x: index * 24 / STATS, y: 0, w: 24 / STATS, h: 4 }
    : { x: (index - STATS) % 2 * 12, y: 4 + Math.floor((index - STATS) / 2) * 8, w: 12, h: 8 }

const panelOf = ({ description, kind, queries, title, unit }: Panel, index: number) => ({
  id: index + 1,
  type: kind,
  title,
  description,
  datasource: SOURCE,
  gridPos: place(index),
  fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
  targets: queries.map(({ expr, legend }, i) => ({
    refId: String.fromCharCode(65 + i),
    datasource: SOURCE,
    expr,
    legendFormat: legend
  }))
})

export const dashboard = () => ({
  uid: "flock",
  title: "flock",
  tags: ["flock", "cni", "bgp"],
  schemaVersion: 39,
  editable: true,
  refresh: "30s",
  time: { from: "now-3h", to: "now" },
  templating: {
    list: [
      { name: "datasource", type: "datasource", query: "prometheus", label: "Prometheus" },
      {
        name: "node",
        type: "query",
        label: "Node",
        datasource: SOURCE,
        query: { query: "label_values(flock_build_info, node)", refId: "node" },
        refresh: 2,
        multi: true,
        includeAll: true,
        allValue: ".*",
        current: { text: ["All"], value: ["$__all"] }
      }
    ]
  },
  panels: PANELS.map(panelOf)
})

export const dashboardJson = (): string => `${JSON.stringify(dashboard(), undefined, 2)}\n`
