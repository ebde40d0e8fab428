/**
 * `chart.ts`: writes the parts of charts/flock that are manifests/ with values in them, so that the two say the same.
 * Values, schema, NodeConfigs and notes are the chart's own.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

const root = join(import.meta.dirname, "..")
const manifest = (name: string): string => readFileSync(join(root, "manifests", name), "utf8")

/** Replaces every `from`; one that is not there is a mistake here. */
const put = (text: string, ...changes: ReadonlyArray<readonly [from: string, to: string]>): string =>
  changes.reduce((before, [from, to]) => {
    if (!before.includes(from)) throw new Error(`chart: the manifests have no ${JSON.stringify(from)}`)
    return before.replaceAll(from, to)
  }, text)

const HEAD = "{{- /* Made from manifests/ by scripts/chart.ts: edit those. */}}\n"
const NAMESPACE = ["namespace: flock-system", "namespace: {{ .Release.Namespace }}"] as const
const image = (name: string) =>
  `image: "{{ .Values.images.prefix }}${name}:{{ .Values.images.tag | default .Chart.AppVersion }}"`
const resources = (of: string) => `resources: {{- toYaml .Values.${of}.resources | nindent 12 }}\n`

const daemonset = (): string =>
  put(
    manifest("daemonset.yaml"),
    NAMESPACE,
    ["image: flock-agent\n", `${image("flock-agent")}\n          imagePullPolicy: {{ .Values.images.pullPolicy }}\n`],
    ["image: flock-bird\n", `${image("flock-bird")}\n          imagePullPolicy: {{ .Values.images.pullPolicy }}\n`],
    [
      "      serviceAccountName: flock-agent\n",
      "      serviceAccountName: flock-agent\n      {{- with .Values.images.pullSecrets }}\n" +
      "      imagePullSecrets: {{- toYaml . | nindent 8 }}\n      {{- end }}\n"
    ],
    [
      "resources:\n            requests: { cpu: 100m, memory: 128Mi }\n            limits: { memory: 512Mi }\n",
      resources("agent")
    ],
    ["resources:\n            requests: { cpu: 10m, memory: 32Mi }\n", resources("bird")],
    [
      "            - name: FLOCK_HTTP\n              value: 127.0.0.1:9476\n",
      "            - name: FLOCK_HTTP\n              value: {{ ternary \"[::]:9476\" \"127.0.0.1:9476\" .Values.monitoring | quote }}\n"
    ],
    [
      "          livenessProbe:\n            # By the socket",
      "          {{- if .Values.monitoring }}\n          ports:\n            - { name: metrics, containerPort: 9476 }\n          {{- end }}\n" +
      "          livenessProbe:\n            # By the socket"
    ]
  )

const monitoring = (): string =>
  [
    "{{- if .Values.monitoring }}",
    put(manifest("overlays/monitoring/podmonitor.yaml"), NAMESPACE).trimEnd(),
    "---",
    // With Prometheus' own braces in it.
    "{{ .Files.Get \"files/alerts.yaml\" | replace \"flock-system\" .Release.Namespace }}",
    "---",
    "apiVersion: v1",
    "kind: ConfigMap",
    "metadata:",
    "  name: flock-dashboard",
    "  namespace: {{ .Release.Namespace }}",
    "  labels:",
    "    grafana_dashboard: \"1\"",
    "data:",
    "  flock.json: {{ .Files.Get \"files/dashboard.json\" | quote }}",
    "{{- end }}\n"
  ].join("\n")

/** Path below charts/flock, and text. */
export const chartFiles = (): ReadonlyArray<readonly [path: string, text: string]> => [
  ["crds/nodeconfigs.yaml", manifest("crd.yaml")],
  ["crds/nodeconfigtemplates.yaml", manifest("crd-template.yaml")],
  [
    "templates/rbac.yaml",
    HEAD +
    put(manifest("rbac.yaml"), NAMESPACE, [
      "resourceNames: [tor]",
      "resourceNames: {{ toJson .Values.passwordSecrets }}"
    ])
  ],
  ["templates/admission.yaml", `${HEAD}{{- if .Values.admissionPolicies }}\n${manifest("admission.yaml")}{{- end }}\n`],
  ["templates/daemonset.yaml", HEAD + daemonset()],
  ["templates/monitoring.yaml", HEAD + monitoring()],
  ["files/alerts.yaml", manifest("overlays/monitoring/alerts.yaml")],
  ["files/dashboard.json", manifest("overlays/monitoring/dashboard.json")]
]

if (process.argv[1] === import.meta.filename) {
  for (const [path, text] of chartFiles()) {
    const file = join(root, "charts/flock", path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
}
