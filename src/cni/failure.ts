/** Every error of the services, as the CNI error that the runtime shows to its user. */
import type { AddressError } from "../domain/errors.ts"
import type { KubeUnavailable } from "../kube/KubeApi.ts"
import type { AddressHeld, InterfaceExists, LinkNameTaken, NetlinkError, NetnsError } from "../netlink/Netlink.ts"
import type { StoreError } from "../state/Allocations.ts"
import { CniFailure, Code } from "./spec.ts"

export type ServiceError =
  | AddressError
  | StoreError
  | KubeUnavailable
  | AddressHeld
  | InterfaceExists
  | LinkNameTaken
  | NetlinkError
  | NetnsError

const codes: Record<ServiceError["_tag"], number> = {
  AddressError: Code.ADDRESSES,
  StoreError: Code.IO_FAILURE,
  KubeUnavailable: Code.TRY_AGAIN_LATER,
  AddressHeld: Code.ADDRESSES,
  InterfaceExists: Code.INVALID_ENVIRONMENT,
  LinkNameTaken: Code.KERNEL,
  NetlinkError: Code.KERNEL,
  // All that was made is removed again, so the runtime has nothing to clean up.
  NetnsError: Code.UNKNOWN_CONTAINER
}

export const toFailure = (error: ServiceError | CniFailure): CniFailure =>
  error._tag === "CniFailure" ? error : new CniFailure({ code: codes[error._tag], message: error.message })
