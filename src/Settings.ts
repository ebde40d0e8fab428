/** What `flock-agent run` is told. Flags win over `FLOCK_…` environment variables, those over the defaults here. */
import { Config, Option } from "effect"
import { Flag } from "effect/cli"
import { hostname } from "node:os"
import { birdSocketFlag, cniBinDirFlag, optional, socketFlag, text } from "./cli/flags.ts"

export const runFlags = {
  nodeName: optional(
    "node-name",
    "name of this node and of its NodeConfig; also NODE_NAME (default: host name)",
    "NODE_NAME"
  ),
  kubeconfig: optional("kubeconfig", "kubeconfig file (default: in-cluster credentials)"),
  standalone: optional("standalone", "no Kubernetes: DIR holds nodeconfig.yaml and pods/*.yaml").pipe(
    Flag.withMetavar("DIR")
  ),
  namespace: text("namespace", "flock's own namespace, where BGP passwords are", "flock-system"),
  socket: socketFlag,
  stateDir: text("state-dir", "allocations and cached NodeConfig; a tmpfs", "/run/flock"),
  birdConf: text("bird-conf", "file that BIRD reads", "/run/flock/bird/bird.conf"),
  birdSocket: birdSocketFlag,
  noBird: Flag.Boolean("no-bird").pipe(
    Flag.withDescription("do not speak to BIRD; routes stay on this node"),
    Flag.withFallbackConfig(Config.Boolean("FLOCK_NO_BIRD")),
    Flag.withDefault(false)
  ),
  cniConfDir: optional("cni-conf-dir", "write the conflist into this folder once pods can be served"),
  cniBinDir: cniBinDirFlag,
  http: text("http", "address of /metrics, /healthz and /readyz", "127.0.0.1:9476")
}

export interface Settings {
  readonly nodeName: Option.Option<string>
  readonly kubeconfig: Option.Option<string>
  readonly standalone: Option.Option<string>
  readonly namespace: string
  readonly socket: string
  readonly stateDir: string
  readonly birdConf: string
  readonly birdSocket: string
  readonly noBird: boolean
  readonly cniConfDir: Option.Option<string>
  readonly cniBinDir: string
  readonly http: string
}

/** The node's name: as told, else the host's. */
export const nodeNameOf = (settings: Settings): string => Option.getOrElse(settings.nodeName, hostname)
