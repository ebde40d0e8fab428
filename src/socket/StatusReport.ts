/** What `flock-agent status` is told; `--json` prints it as it is. */
import { Schema } from "effect"
import { AnycastAddress } from "../anycast/AnycastAddress.ts"
import { BirdStatus } from "../bird/birdStatus.ts"
import type { Allocation } from "../domain/Allocation.ts"
import * as PodAddresses from "../domain/PodAddresses.ts"
import { AntiSpoofingStatus, PodDrops } from "../firewall/AntiSpoofing.ts"
import { PoolUsage } from "../ipam/Ipam.ts"
import { ApiHealth } from "../kube/apiHealth.ts"

export const AllocationReport = Schema.Struct({
  namespace: Schema.String,
  pod: Schema.String,
  uid: Schema.String,
  containerId: Schema.String,
  ifName: Schema.String,
  hostIfName: Schema.String,
  ...PodAddresses.reportedFields,
  /** Bytes. */
  mtu: Schema.Number,
  /** RFC 3339. */
  createdAt: Schema.String
})
export interface AllocationReport extends Schema.Schema.Type<typeof AllocationReport> {}

/** Where the agent was told to look: other commands in its container see the same files. */
export const Paths = Schema.Struct({
  /** Absent: it writes no conflist. */
  cniConfDir: Schema.optionalKey(Schema.String),
  cniBinDir: Schema.String,
  birdSocket: Schema.String
})
export interface Paths extends Schema.Schema.Type<typeof Paths> {}

export const StatusReport = Schema.Struct({
  version: Schema.String,
  node: Schema.String,
  /** RFC 3339. */
  startedAt: Schema.String,
  paths: Schema.optionalKey(Paths),
  nodeConfig: Schema.Struct({
    present: Schema.Boolean,
    generation: Schema.Number,
    cidr6: Schema.optionalKey(Schema.String),
    cidr4: Schema.optionalKey(Schema.String),
    /** What is in force although it can hardly be meant. */
    warnings: Schema.optionalKey(Schema.Array(Schema.String)),
    /** Why no new pod gets an address of a prefix: the node's network uses it otherwise. */
    conflicts: Schema.optionalKey(Schema.Array(Schema.String)),
    /** Why it is not known whether there is one. */
    unknown: Schema.optionalKey(Schema.String),
    /** Why a newer one would not be known; absent while the source answers. */
    unheard: Schema.optionalKey(Schema.String),
    /** Why the newest NodeConfig is not in force; absent if it is. */
    rejected: Schema.optionalKey(Schema.String)
  }),
  usage: Schema.Struct({ ipv6: Schema.optionalKey(PoolUsage), ipv4: Schema.optionalKey(PoolUsage) }),
  allocations: Schema.Array(AllocationReport),
  /** Anycast and operator-chosen addresses, with what their announcement waits for. */
  announcements: Schema.Array(AnycastAddress),
  bird: BirdStatus,
  /** What of the host's part of pods' networks is not as flock made it and cannot be put right; absent: nothing. */
  hostProblems: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Files of a newer format, which were left as they are, with what that means; absent: none. */
  newerState: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Absent where there is no API server (standalone). */
  api: Schema.optionalKey(ApiHealth),
  antiSpoofing: AntiSpoofingStatus,
  /** Pods of which packets were dropped. */
  drops: Schema.Array(PodDrops)
})
export interface StatusReport extends Schema.Schema.Type<typeof StatusReport> {}

export const allocationReport = (a: Allocation): AllocationReport => ({
  namespace: a.pod.namespace,
  pod: a.pod.name,
  uid: a.pod.uid,
  containerId: a.containerId,
  ifName: a.ifName,
  hostIfName: a.hostIfName,
  ...PodAddresses.report(a.addresses),
  mtu: a.mtu,
  createdAt: a.createdAt
})
