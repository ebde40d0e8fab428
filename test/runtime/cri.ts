/**
 * As much of a kubelet as its network needs: CRI's RunPodSandbox, PodSandboxStatus, StopPodSandbox and RemovePodSandbox
 * (cri-api runtime/v1 api.proto), as gRPC over Node's HTTP/2, with Protocol Buffers written by hand.
 */
import { connect as connectHttp2 } from "node:http2"
import { connect } from "node:net"

type Value = string | number | Buffer
/** Field number and value; zero and the empty string may be left out, as proto3 does. */
type Fields = ReadonlyArray<readonly [number, Value]>

const varint = (value: number): Buffer => {
  const bytes: Array<number> = []
  for (let rest = value;; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest])
    bytes.push((rest % 128) + 128)
  }
}

const message = (...fields: Fields): Buffer =>
  Buffer.concat(fields.flatMap(([number, value]) => {
    if (typeof value === "number") return [varint(number * 8), varint(value)]
    const bytes = Buffer.from(value as string)
    return [varint(number * 8 + 2), varint(bytes.length), bytes]
  }))

const map = (number: number, entries: Record<string, string> = {}): Fields =>
  Object.entries(entries).map(([key, value]) => [number, message([1, key], [2, value])] as const)

/** The length-delimited fields of a message, in order; the answers read here need no other. */
const fieldsOf = (bytes: Buffer): ReadonlyArray<readonly [number, Buffer]> => {
  const fields: Array<readonly [number, Buffer]> = []
  let at = 0
  const next = (): number => {
    let value = 0
    for (let factor = 1;; factor *= 128) {
      const byte = bytes.readUInt8(at++)
      value += (byte % 128) * factor
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const key = next()
    if (key % 8 === 0) next()
    else if (key % 8 === 2) {
      const length = next()
      fields.push([Math.floor(key / 8), bytes.subarray(at, at + length)])
      at += length
    } else throw new Error(`wire type ${key % 8} at byte ${at}`)
  }
  return fields
}

const all = (bytes: Buffer, number: number): ReadonlyArray<Buffer> =>
  fieldsOf(bytes).flatMap(([n, value]) => n === number ? [value] : [])
const one = (bytes: Buffer, number: number): Buffer => all(bytes, number)[0] ?? Buffer.alloc(0)

export interface SandboxConfig {
  readonly name: string
  readonly uid: string
  readonly namespace?: string
  readonly annotations?: Record<string, string>
  readonly portMappings?: ReadonlyArray<{ readonly hostPort: number; readonly containerPort: number }>
  readonly cgroupParent: string
  readonly logDirectory: string
}

export class Cri {
  readonly #socket: string

  constructor(socket: string) {
    this.#socket = socket
  }

  /** One unary call; a gRPC status other than 0 rejects with its message. */
  #call(method: string, request: Buffer): Promise<Buffer> {
    return new Promise((done, fail) => {
      const session = connectHttp2("http://localhost", { createConnection: () => connect(this.#socket) })
      session.on("error", fail)
      const stream = session.request({
        ":method": "POST",
        ":path": `/runtime.v1.${method}`,
        "content-type": "application/grpc",
        te: "trailers"
      })
      const chunks: Array<Buffer> = []
      let status: unknown
      let reason: unknown
      const read = (headers: Record<string, unknown>): void => {
        status = headers["grpc-status"] ?? status
        reason = headers["grpc-message"] ?? reason
      }
      stream.on("response", read)
      stream.on("trailers", read)
      stream.on("data", (chunk: Buffer) => chunks.push(chunk))
      stream.on("error", fail)
      // After an answer this changes nothing.
      stream.on("close", () => fail(new Error(`${method}: the connection ended without an answer`)))
      stream.on("end", () => {
        session.close()
        if (status !== "0") return fail(new Error(`${method}: ${decodeURIComponent(String(reason))}`))
        // One byte "not compressed" and four of length come before the message.
        done(Buffer.concat(chunks).subarray(5))
      })
      const head = Buffer.alloc(5)
      head.writeUInt32BE(request.length, 1)
      stream.end(Buffer.concat([head, request]))
    })
  }

  /** Whether the CRI plugin knows the image; it learns of an import through an event. */
  async hasImage(image: string): Promise<boolean> {
    return one(await this.#call("ImageService/ImageStatus", message([1, message([1, image])])), 1).length > 0
  }

  /** The sandbox's ID, which is the CNI container ID. */
  async run(sandbox: SandboxConfig): Promise<string> {
    const config = message(
      [1, message([1, sandbox.name], [2, sandbox.uid], [3, sandbox.namespace ?? "default"])],
      [2, sandbox.name],
      [3, sandbox.logDirectory],
      ...(sandbox.portMappings ?? []).map((port) => [5, message([2, port.containerPort], [3, port.hostPort])] as const),
      ...map(7, sandbox.annotations),
      [8, message([1, sandbox.cgroupParent])]
    )
    return one(await this.#call("RuntimeService/RunPodSandbox", message([1, config])), 1).toString()
  }

  /** The sandbox's addresses as kubelet puts them into the pod's status, the first one first. */
  async addresses(id: string): Promise<ReadonlyArray<string>> {
    const status = one(await this.#call("RuntimeService/PodSandboxStatus", message([1, id])), 1)
    const network = one(status, 5)
    return [one(network, 1), ...all(network, 2).map((ip) => one(ip, 1))].map(String)
  }

  async stop(id: string): Promise<void> {
    await this.#call("RuntimeService/StopPodSandbox", message([1, id]))
  }

  async remove(id: string): Promise<void> {
    await this.#call("RuntimeService/RemovePodSandbox", message([1, id]))
  }
}
