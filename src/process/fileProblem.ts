import type { PlatformError } from "effect/PlatformError"

/** The kernel's own word for what it refused, such as `ENOSPC: no space left on device`. Effect's message leaves it out. */
export const fileProblem = (error: { readonly message: string; readonly reason?: unknown }): string => {
  const { reason } = error
  const cause = typeof reason === "object" && reason !== null && "cause" in reason ? reason.cause : undefined
  // Node adds the system call and its paths: "…, open '/run/flock/x'".
  return cause instanceof Error ? cause.message.replace(/, [a-z]+( '.*)?$/s, "") : error.message
}

/** The same with the path before it: `/run/flock/bird/bird.conf.new: EROFS: read-only file system`. */
export const pathProblem = (error: PlatformError): string => {
  const { reason } = error
  const path = "pathOrDescriptor" in reason && reason.pathOrDescriptor !== undefined
    ? `${reason.pathOrDescriptor}: `
    : ""
  return `${path}${fileProblem(error)}`
}
