/** What flock does, as one picture: two nodes, their router, pods of three kinds, and what BGP says of them. */

/** Colours of a light page; where a reader's system is dark, {@link DARK}'s. */
const LIGHT = { page: "#ffffff", card: "#f6f8fa", pod: "#ffffff", line: "#8c959f", text: "#1f2328", soft: "#57606a" }
const DARK = { page: "#0d1117", card: "#161b22", pod: "#0d1117", line: "#6e7681", text: "#e6edf3", soft: "#9da7b3" }
const ACCENT = {
  unicast: ["#0969da", "#58a6ff"],
  anycast: ["#1a7f37", "#3fb950"],
  off: ["#9a6700", "#d29922"]
} as const

const variables = (colours: Readonly<Record<string, string>>, shade: 0 | 1): string =>
  [...Object.entries(colours), ...Object.entries(ACCENT).map(([name, pair]) => [name, pair[shade]])]
    .map(([name, value]) => `.f-${name}{fill:${value}}.s-${name}{stroke:${value}}`).join("")

interface PodPicture {
  readonly name: string
  readonly lines: ReadonlyArray<readonly [string, string]>
  readonly state: readonly [string, "unicast" | "anycast" | "off"]
}

interface NodePicture {
  readonly name: string
  readonly announces: ReadonlyArray<readonly [string, "unicast" | "anycast"]>
  readonly pods: ReadonlyArray<PodPicture>
}

const ANYCAST = "2001:db8:a::53"

const NODES: ReadonlyArray<NodePicture> = [
  {
    name: "node host001",
    announces: [["2001:db8:1::/64, 10.42.1.0/24", "unicast"], [`${ANYCAST}/128`, "anycast"]],
    pods: [
      {
        name: "web",
        lines: [["eth0", "2001:db8:1::7d99"], ["", "10.42.1.2"]],
        state: ["reachable by its prefix", "unicast"]
      },
      {
        name: "dns-1",
        lines: [["eth0", "2001:db8:1::51a8"], ["lo", ANYCAST]],
        state: ["Ready: announced", "anycast"]
      }
    ]
  },
  {
    name: "node host002",
    announces: [["2001:db8:2::/64, 10.42.2.0/24", "unicast"], [`${ANYCAST}/128`, "anycast"]],
    pods: [
      {
        name: "dns-2",
        lines: [["eth0", "2001:db8:2::c3f0"], ["lo", ANYCAST]],
        state: ["Ready: announced", "anycast"]
      },
      {
        name: "dns-3",
        lines: [["eth0", "2001:db8:2::08b4"], ["lo", ANYCAST]],
        state: ["not Ready: withdrawn", "off"]
      }
    ]
  }
]

const WIDTH = 960
const HEIGHT = 512
const NODE = { width: 452, top: 238, height: 258 }
const POD = { width: 206, height: 122, top: 122 }

const text = (x: number, y: number, content: string, look = "f-text", anchor = "start"): string =>
  `<text x="${x}" y="${y}" class="${look}" text-anchor="${anchor}">${content}</text>`

const box = (x: number, y: number, width: number, height: number, look: string): string =>
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="8" class="${look}"/>`

const pod = (x: number, y: number, { lines, name, state: [words, colour] }: PodPicture): string =>
  [
    box(x, y, POD.width, POD.height, `f-pod s-${colour}`),
    text(x + 14, y + 26, `pod ${name}`, "f-text b"),
    ...lines.flatMap(([label, address], i) => [
      text(x + 14, y + 52 + i * 20, label, "f-soft m"),
      text(x + 56, y + 52 + i * 20, address, `${label === "lo" ? `f-${colour}` : "f-text"} m`)
    ]),
    `<circle cx="${x + 19}" cy="${y + 101}" r="5" class="f-${colour}"/>`,
    text(x + 31, y + 105, words, `f-${colour}`)
  ].join("\n")

const node = (x: number, { announces, name, pods }: NodePicture, routerX: number): string => {
  const bird = x + NODE.width / 2
  return [
    `<path d="M${bird} ${NODE.top + 46} V150 H${routerX} V104" class="s-unicast w" marker-end="url(#arrow)"/>`,
    ...announces.map(([prefix, colour], i) => text(bird + 14, 176 + i * 22, prefix, `f-${colour} m`)),
    box(x, NODE.top, NODE.width, NODE.height, "f-card s-line"),
    text(x + 16, NODE.top + 28, name, "f-text b"),
    box(bird - 38, NODE.top + 46, 76, 32, "f-pod s-unicast"),
    text(bird, NODE.top + 67, "BIRD", "f-text b", "middle"),
    text(bird - 50, NODE.top + 67, "flock-agent → bird.conf →", "f-soft", "end"),
    text(bird + 50, NODE.top + 67, "← kernel routes, rtnetlink", "f-soft"),
    `<path d="M${x + 123} ${NODE.top + POD.top} V${NODE.top + 100} H${x + NODE.width - 123} V${
      NODE.top + POD.top
    } M${bird} ${NODE.top + 100} V${NODE.top + 78}" class="s-line w"/>`,
    ...pods.map((it, i) => pod(x + 14 + i * (POD.width + 12), NODE.top + POD.top, it))
  ].join("\n")
}

export const overview = (): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">
<title>flock: each node's BIRD announces its pods' prefixes to your router by BGP, and an anycast address from each node on which a pod with it is Ready</title>
<!-- Made by scripts/pictures/main.ts. -->
<style>
text{font:13px -apple-system,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif}
.m{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}.b{font-weight:600}.w{fill:none;stroke-width:2}
rect{stroke-width:1.5}
${variables(LIGHT, 0)}
@media (prefers-color-scheme:dark){${variables(DARK, 1)}}
</style>
<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" class="f-unicast"/></marker></defs>
<rect width="${WIDTH}" height="${HEIGHT}" rx="12" class="f-page"/>
${box(330, 20, 300, 82, "f-card s-unicast")}
${text(480, 50, "your router", "f-text b", "middle")}
${text(480, 70, "FRR · BIRD · Cisco · Junos · Arista", "f-soft", "middle")}
${text(480, 90, `${ANYCAST} via host001 and host002`, "f-anycast m", "middle")}
${text(20, 44, "clients, the rest of your network", "f-soft")}
<path d="M20 61 H322" class="s-line w" stroke-dasharray="5 4"/>
${text(652, 44, "BGP, both families, next hop = the node", "f-unicast")}
${text(652, 66, "no overlay · no NAT · no bridge", "f-soft")}
${NODES.map((it, i) => node(i === 0 ? 14 : WIDTH - 14 - NODE.width, it, i === 0 ? 400 : 560)).join("\n")}
</svg>
`
