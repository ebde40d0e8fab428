/** README.md's "Two pods", typed as it stands: what it shows is what happens. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { exec } from "../../lab/exec.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const [, section = ""] = readFileSync(join(ROOT, "README.md"), "utf8").split("\n## Two pods\n")
const blocks = [...(section.split("\n## ")[0] ?? "").matchAll(/^```(sh)?\n([\s\S]*?)^```$/gm)]
const typed = blocks.find(([, kind]) => kind === "sh")?.[2] ?? ""
const shown = blocks.find(([, kind]) => kind === undefined)?.[2] ?? ""
const cleanUp = /^Clean up: `(.*)`\.$/m.exec(section)?.[1] ?? ""

/** `# COMMAND` and the lines after it. */
const steps = shown.split(/^# /m).slice(1).map((step) => {
  const [command = "", ...output] = step.trimEnd().split("\n")
  return { command, output }
})

/** Without times, and up to where the README leaves lines out. */
const comparable = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.map((line) => line.replace(/time=.*/, "time").trim())

describe("README.md, Two pods", () => {
  it("is what happens when it is typed", async () => {
    assert.deepStrictEqual(steps.map(({ command }) => command.split(" ")[0]), ["ip", "flock-agent.mjs", "sed", "ip"])
    const mark = (i: number) => `---- ${i} ----`
    const script = [
      "set -u",
      "mount -t tmpfs tmpfs /run/netns && ip link set lo up",
      // A /tmp of its own, in which the checkout stays where it is.
      `mount --bind ${ROOT} /mnt && mount -t tmpfs tmpfs /tmp && mkdir -p ${ROOT} && mount --bind /mnt ${ROOT}`,
      `cd ${ROOT}`,
      ...typed.split("\n").filter((line) => !/^sudo -s|^npm run /.test(line)),
      ...steps.flatMap(({ command }, i) => [
        `echo '${mark(i)}'`,
        // A person needs longer than the agent does.
        ...(i === 3
          ? [`timeout 20 sh -c 'until ip -n node1 -6 route show proto 201 | grep -q .; do sleep 0.1; done'`]
          : []),
        command
      ]),
      `echo '${mark(steps.length)}'`,
      cleanUp,
      "wait; ls /run/netns /tmp; pgrep -x node || echo nothing left"
    ].join("\n")
    const namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    const { stderr, stdout } = await exec("timeout", ["60", "unshare", ...namespaces, "bash", "-c", script])
    const [before = "", ...rest] = stdout.split(/^---- \d+ ----\n/m)
    assert.match(before, /"address":"10\.42\.1\.2\/32"[\s\S]*"address":"10\.42\.1\.3\/32"/, stderr)
    steps.forEach(({ command, output }, i) => {
      const seen = comparable((rest[i] ?? "").split("\n"))
      for (const line of comparable(output).filter((line) => line !== "…" && line !== "")) {
        assert.include(seen, line, `${command}: ${stderr}`)
      }
    })
    assert.include(rest[steps.length] ?? "", "nothing left", stderr)
    assert.notMatch(rest[steps.length] ?? "", /^(node1|web|dns|flock)$/m)
  }, 90_000)
})
