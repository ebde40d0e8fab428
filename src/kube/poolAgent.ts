/**
 * Connections to the API server, kept open between requests. A request that was interrupted has no listener for errors any
 * more in Effect's client; if the server closes the connection in the same moment (an outage: both happen at once), Node
 * emits "socket hang up" on it, and an error that nobody listens to ends the process. Whoever waits hears of errors as ever.
 */
import * as http from "node:http"
import * as https from "node:https"

/** TCP keepalive too: a connection whose other end is gone without a word is noticed (25 s with Linux's Node). */
const POOL = { keepAlive: true, keepAliveMsecs: 15_000 }

/** What `node:http` calls for each request (lib/_http_client.js); in the documentation of neither Node nor its types. */
interface WithAddRequest {
  addRequest(request: http.ClientRequest, ...more: ReadonlyArray<unknown>): void
}

/** `agent`, whose requests may fail with nobody listening. */
export const listening = <A extends http.Agent>(agent: A): A => {
  const inner = agent as unknown as WithAddRequest
  const addRequest = inner.addRequest.bind(agent)
  inner.addRequest = (request, ...more) => {
    request.on("error", () => {})
    addRequest(request, ...more)
  }
  return agent
}

/** `tls` undefined: no TLS. */
export const poolAgent = (tls: https.AgentOptions | undefined): http.Agent =>
  listening(tls === undefined ? new http.Agent(POOL) : new https.Agent({ ...tls, ...POOL }))
