/** FNV-1a, 64 bits (draft-eastlake-fnv; offset basis and prime as published there). Not for security. */
const OFFSET_BASIS = 0xcbf29ce484222325n
const PRIME = 0x100000001b3n

const encoder = new TextEncoder()

/** Hash of the text's UTF-8 bytes. */
export const fnv1a64 = (text: string): bigint => {
  let hash = OFFSET_BASIS
  for (const byte of encoder.encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * PRIME)
  return hash
}
