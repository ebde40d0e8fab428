/** Which Debian packages a runtime's tests need; without them the tests are skipped, and say so. */
import { existsSync } from "node:fs"
import { delimiter, join } from "node:path"

const COMMANDS: Record<string, string> = {
  containerd: "containerd",
  runc: "runc",
  podman: "podman",
  conmon: "conmon",
  "busybox-static": "busybox",
  iptables: "iptables"
}

const installed = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(delimiter).some((folder) => existsSync(join(folder, command)))

/** Whether the Debian packages are installed; if not, the missing ones are named on stderr. */
export const havePackages = (...packages: ReadonlyArray<keyof typeof COMMANDS & string>): boolean => {
  const missing = packages.filter((name) => !installed(COMMANDS[name] ?? name))
  if (missing.length > 0) {
    console.error(
      `SKIPPED: these tests need the Debian packages ${missing.join(", ")}: apt-get install ${missing.join(" ")}`
    )
  }
  return missing.length === 0
}
