/** The pods of a folder: which file says what. Pure: a reading of one file goes in, the changes that matter come out. */
import type { PodInfo } from "../domain/Pod.ts"
import type { PodChange } from "./KubeApi.ts"
import * as PodCache from "./podCache.ts"

/** What a look at one file found. */
export type Reading =
  | { readonly _tag: "Pods"; readonly pods: ReadonlyArray<PodInfo> }
  | { readonly _tag: "Gone" }
  /** It may be half-written: what it said before stays. */
  | { readonly _tag: "Unreadable"; readonly message: string }

export interface State {
  readonly files: ReadonlyMap<string, ReadonlyArray<PodInfo>>
  /** What is wrong with a file, so that it is said once. */
  readonly problems: ReadonlyMap<string, string>
  /** Of all files by `podKey`; where two say the same pod, the one whose name sorts last counts. */
  readonly pods: PodCache.Pods
}

export interface Step {
  readonly state: State
  readonly changes: ReadonlyArray<PodChange>
  readonly problems: ReadonlyArray<string>
}

export const initial: State = { files: new Map(), problems: new Map(), pods: new Map() }

const without = <A>(map: ReadonlyMap<string, A>, key: string): ReadonlyMap<string, A> => {
  if (!map.has(key)) return map
  const next = new Map(map)
  next.delete(key)
  return next
}

const put = (state: State, file: string, found: ReadonlyArray<PodInfo>): Step => {
  const files = found.length === 0 ? without(state.files, file) : new Map(state.files).set(file, found)
  const items = [...files.keys()].toSorted().flatMap((name) => files.get(name) ?? [])
  const { changes, pods } = PodCache.step(state.pods, { _tag: "Listed", items })
  return { state: { files, pods, problems: without(state.problems, file) }, changes, problems: [] }
}

export const step = (state: State, file: string, reading: Reading): Step => {
  switch (reading._tag) {
    case "Pods":
      return put(state, file, reading.pods)
    case "Gone":
      return put(state, file, [])
    case "Unreadable": {
      const { message } = reading
      if (state.problems.get(file) === message) return { state, changes: [], problems: [] }
      return {
        state: { ...state, problems: new Map(state.problems).set(file, message) },
        changes: [],
        problems: [message]
      }
    }
  }
}
