/**
 * The API server in `../shared/kube` is Kubernetes 1.20 built with Go 1.19. Its vendored modern-go/reflect2 calls the
 * runtime's `mapiterinit` with the two arguments of Go 1.17, so that json-iterator crashes the process (SIGSEGV) whenever
 * it encodes a map: with this build at the first custom resource that is written. https://github.com/golang/go/issues/48557
 *
 * {@link cacheHome} makes a copy in which json-iterator's `frozenConfig.Marshal(cfg, v)` jumps to `encoding/json.Marshal(v)`,
 * of which it is a compatible copy: move the two words of `v` over `cfg` (rbx to rax, rcx to rbx), jump. Any other build of
 * the server is used as it is.
 */
import { execFileSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const OFFSET = 0x45cf00
const BEFORE = Buffer.from("4c8d6424f04d3b66100f86d8010000", "hex")
const JUMP = Buffer.from("4889d84889cbe9d5b3efff", "hex")
const SIZE = 110272512

/** What to set XDG_CACHE_HOME to for `kube-apiserver-up` in `folder`. */
export const cacheHome = (folder: string): string => {
  const home = join(tmpdir(), `flock-kube-patched-${process.getuid?.() ?? 0}`)
  const server = join(home, "flock-kube", "kube-apiserver-1.20.2")
  if (existsSync(server)) return home
  mkdirSync(join(home, "flock-kube"), { recursive: true })
  const bytes = execFileSync("xz", ["-dc", join(folder, "kube-apiserver.xz")], { maxBuffer: 1 << 30 })
  if (bytes.length === SIZE && bytes.subarray(OFFSET, OFFSET + BEFORE.length).equals(BEFORE)) JUMP.copy(bytes, OFFSET)
  const temporary = `${server}.${process.pid}`
  writeFileSync(temporary, bytes)
  chmodSync(temporary, 0o755)
  renameSync(temporary, server)
  return home
}
