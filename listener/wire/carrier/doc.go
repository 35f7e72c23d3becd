// Package carrier carries the protocol's frames over HTTPS, for networks that
// let nothing else out. Both ends are here; each is a [Conn], one stream of bytes
// in either direction, as a TCP connection is. What the bytes are is the matter of
// package wire.
//
// The HTTPS is always end to end, from the agent's process to the listener's:
// the device is who the client certificate of the TLS connection says, and
// nothing between the two can vouch for it. Section "Carriers" of PROTOCOL.md
// beside package wire says which paths through a network that allows.
//
// # WebSocket
//
// GET [WebSocketPath] with an upgrade to a WebSocket, subprotocol [Subprotocol],
// without compression. Each binary message is a piece of the stream, at most
// [MaxChunk] bytes; where one ends means nothing. An empty message is the end of
// the stream in its direction, which [Conn.CloseWrite] sends; after it nothing
// comes but control frames. Text is refused. The agent sends a ping every 45 s and
// hangs up if it is not answered in 20 s: proxies forget what is silent, and an
// agent finds that out before the site needs it.
//
// # Long poll
//
// For paths on which a WebSocket does not live. Both directions are numbered
// chunks, from 1, each at most [MaxChunk] bytes; an empty chunk is the end of the
// stream in its direction. SESSION is 32 hexadecimal digits that the listener
// draws at random.
//
//	POST   /agent/poll                  opens; 201, SESSION in the header Bugle-Session
//	POST   /agent/poll/SESSION/N        the body is the agent's chunk N; 204 once it is taken
//	GET    /agent/poll/SESSION/N?hold=S asks for the listener's chunk N, 200; 204 if there
//	                                    was none for S seconds (at most 25): ask again
//	DELETE /agent/poll/SESSION          hangs up; 204
//
// Why nothing is lost and nothing comes twice, whatever happens to requests and
// answers:
//
//   - A request for chunk N says that every chunk before it has arrived. The
//     listener keeps the one chunk that it has handed out and not seen
//     acknowledged, and hands out the same bytes to whoever asks for N again.
//   - The listener takes chunk N only when it has taken N-1; one that it has taken
//     is answered again with 204 and has no effect. The agent sends N+1 once N is
//     answered.
//   - A number that is neither of the two is stale, or of somebody who has lost
//     count: 409. Nobody waits for the answer to a stale one.
//
// A request with another device's certificate does not find the session. Newer
// requests release older ones of the same direction that still wait. A session
// that is over is 410 (or 404, when it is forgotten); 429 and 5xx mean "the same
// again, later".
//
// # Bounds
//
// Either end holds at most 128 KiB in each direction, and the listener one chunk
// more. When its buffer is full the listener answers a POST only when there is
// room, after 25 s with 503; the agent asks for no further chunk. A write waits
// until there is room, so a slow reader costs only itself.
//
// The listener takes the session for ended when 60 s pass in which no request of
// it is under way; [Conn.Read] says so with an error that wraps
// [os.ErrDeadlineExceeded]. Of one session it answers 200 requests a second, and
// 1,000 at once. The agent gives up after 45 s without an answer. Halves
// that are closed are kept for 10 s, so that last words can be fetched.
//
// # Deadlines
//
// As in package net, with one difference: a deadline that passes while a Read or
// Write of a WebSocket waits is the end of the connection.
package carrier
