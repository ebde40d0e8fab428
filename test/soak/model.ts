/** What each call may answer, and which addresses a pod must have got. Pure. */
import type { Wanted } from "../../lab/agreement.ts"
import type { Asks, FaultKind } from "./plan.ts"

/** `src/cni/spec.ts`, `Code`; written out, since it is what runtimes see. */
const CODE = {
  UNKNOWN_CONTAINER: 3,
  INVALID_ENVIRONMENT: 4,
  IO_FAILURE: 5,
  TRY_AGAIN: 11,
  NOT_AVAILABLE: 50,
  NOT_AVAILABLE_LIMITED: 51,
  ADDRESSES: 100,
  CHECK_FAILED: 102
} as const

export type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS"

/**
 * What may excuse a failure: a fault, or something that the soak itself does beside the call. `rivals`: the same ADD
 * twice. `rebuilt`: the record was lost after the pod's annotations were changed.
 */
export type Circumstance = FaultKind | "edited" | "flipped" | "rivals" | "rebuilt"

const noAgent = {
  ADD: [CODE.TRY_AGAIN],
  DEL: [CODE.TRY_AGAIN],
  CHECK: [CODE.TRY_AGAIN],
  GC: [CODE.TRY_AGAIN],
  STATUS: [CODE.NOT_AVAILABLE]
}
const unlike = { CHECK: [CODE.CHECK_FAILED] }
/** The second where BIRD is away too. */
const noConfig = [CODE.NOT_AVAILABLE, CODE.NOT_AVAILABLE_LIMITED]
/** The pod is not in the agent's cache and cannot be asked for; an agent that lost its files has no NodeConfig either. */
const noApi = { ADD: [CODE.TRY_AGAIN], STATUS: noConfig }

const EXCUSES: Partial<Record<Circumstance, Partial<Record<Verb, ReadonlyArray<number>>>>> = {
  agentKilled: noAgent,
  agentStopped: noAgent,
  stateLost: { ...noAgent, STATUS: noConfig },
  podsLost: { ...noAgent, STATUS: noConfig, CHECK: [CODE.TRY_AGAIN, CODE.CHECK_FAILED] },
  diskFull: { ADD: [CODE.IO_FAILURE] },
  apiCut: noApi,
  apiMute: noApi,
  apiSlow: noApi,
  configGone: { ADD: [CODE.TRY_AGAIN], STATUS: noConfig },
  exportsFlushed: unlike,
  hostEndDown: unlike,
  hostRoutesFlushed: unlike,
  neighboursFlushed: unlike,
  flipped: unlike,
  // A chosen address that its pod's annotations do not name any more is not believed, and without any there is no pod.
  rebuilt: { CHECK: [CODE.CHECK_FAILED, CODE.UNKNOWN_CONTAINER] },
  rivals: { ADD: [CODE.INVALID_ENVIRONMENT] }
}

export interface Call {
  readonly verb: Verb
  /** Whether the runtime's container has this interface. */
  readonly attached: boolean
  readonly asks?: Asks
  /** What was the case at any moment of the call. */
  readonly during: ReadonlySet<Circumstance>
}

const expected = ({ asks, attached, verb }: Call): number => {
  if (verb === "ADD") return attached ? CODE.INVALID_ENVIRONMENT : asks?.forbidden === true ? CODE.ADDRESSES : 0
  return verb === "CHECK" && !attached ? CODE.UNKNOWN_CONTAINER : 0
}

/** Undefined: the answer is one that the call may have. */
export const answerProblem = (call: Call, code: number): string | undefined => {
  const right = expected(call)
  if (code === right) return undefined
  const excused = [...call.during].flatMap((circumstance) => EXCUSES[circumstance]?.[call.verb] ?? [])
  return excused.includes(code)
    ? undefined
    : `${call.verb} answers ${code}, must ${right}${
      excused.length === 0 ? "" : ` or ${[...new Set(excused)].join(", ")}`
    }`
}

/** What a pod asked for, in addresses. */
export interface Request {
  readonly anycast: ReadonlyArray<string>
  readonly chosen: ReadonlyArray<string>
}

const isOf = (family: 4 | 6) => (address: string): boolean => address.includes(":") === (family === 6)

/** The attachment that an ADD's answer makes. */
export const wantedOf = (
  key: string,
  addresses: ReadonlyArray<string>,
  { anycast, chosen }: Request
): Wanted => {
  const has = ([4, 6] as const).filter((family) => addresses.some(isOf(family)))
  const usable = anycast.filter((address) => has.some((family) => isOf(family)(address)))
  return {
    key,
    ifName: key.slice(key.indexOf("/") + 1),
    addresses,
    anycast: usable,
    follows: [...chosen, ...usable],
    ready: false
  }
}

export interface Prefixes {
  /** Text that every address of the node's IPv6 prefix begins with. */
  readonly ipv6: string
  readonly ipv4: string
  /** What others of all nodes have at this moment. */
  readonly taken: ReadonlySet<string>
}

/** Whether the addresses of an ADD's answer are those that it may give. `either`: the default was just edited. */
export const addressProblem = (
  addresses: ReadonlyArray<string>,
  { asks, either, ipv4, prefixes, request }: {
    readonly asks: Asks
    readonly either: boolean
    /** The NodeConfig's default. */
    readonly ipv4: boolean
    readonly prefixes: Prefixes
    readonly request: Request
  }
): string | undefined => {
  const [six, four] = [addresses.filter(isOf(6)), addresses.filter(isOf(4))]
  const wantsFour = asks.ipv4 && ipv4
  const [want6] = request.chosen
  if (six.length !== 1 || (want6 === undefined ? !six[0]?.startsWith(prefixes.ipv6) : six[0] !== want6)) {
    return `IPv6 addresses ${six.join(" ")}, not ${want6 ?? `one of ${prefixes.ipv6}`}`
  }
  if (four.length > 1 || (four[0] !== undefined && !four[0].startsWith(prefixes.ipv4))) {
    return `IPv4 addresses ${four.join(" ")}, not one of ${prefixes.ipv4}`
  }
  if (!either && (four.length === 1) !== wantsFour) return `${four.length} IPv4 addresses, wanted ${wantsFour ? 1 : 0}`
  if (either && !asks.ipv4 && four.length > 0) return `an IPv4 address though its annotation says no`
  const double = addresses.find((address) => prefixes.taken.has(address))
  return double === undefined ? undefined : `${double} is another pod's`
}
