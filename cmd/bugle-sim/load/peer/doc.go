// Package peer lets the load generator put other push servers under the load that it
// puts a site of bugle under, so that both are measured alike, in one run:
//
//	mosquitto  the MQTT broker, if it is installed
//	nats       nats-server, linked into this program
//	goroutine  a bare server of Go's standard library: a goroutine for each connection
//	listener, listener-keys
//	           bugle's own listener with its files, and no site behind it, so that its
//	           cost can be told from that of journal and views; listener-keys keeps
//	           of a quiet session only the traffic keys
//
// [Open] starts the server in a process of its own, on a processor if one is named,
// and returns it as a [load.Target]. For all but mosquitto that process is this same
// program, called with the command of [ServerCommand].
//
//	this process                                   the server's process
//	agents (a goroutine each, reading) ── TLS 1.3 ──┐
//	back end ── pushes, takes answers ──── TLS 1.3 ─┴─> 127.0.0.1
//
// # What is alike
//
// TLS 1.3 with P-256 only. Open makes a CA with ECDSA P-256 keys, and from it a
// certificate for the server and a different one for each agent; the server asks for
// the agent's and verifies it. Each agent keeps its TLS session and resumes it if the
// server lets it. A task is a number of 8 bytes and 200 bytes more, an answer 60 bytes.
// An agent answers a task at once, and keeps only which numbers it has had: it takes
// a task once, however often it comes. A quiet connection carries a keep-alive a
// minute. Nothing is stored on a disk, but by listeners.
//
// The back end is one connection of this process. It hands the server the tasks and
// counts each agent's answer once; [load.Observer].Counted tells it up to a
// millisecond later, with the time at which the last of those answers came.
//
// # What differs
//
//	                 mosquitto                  nats                        goroutine
//	a task for all   topic "task", QoS 1        subject "task", JetStream   one frame
//	for some         topic "a/AGENT" of each    subject "a.AGENT" of each   one frame with a bitmap
//	the server has   PUBACK                     JetStream's acknowledgement "taken"
//	an answer        "answer/AGENT", QoS 1      "answer.AGENT"              a frame
//	is safe at       PUBACK                     PONG of a PING after it     "ack"
//	signed in at     SUBACK, or CONNACK if the  PONG of a PING after SUB    "welcome"
//	                 broker knows the session
//	missed tasks     all, queued for the        the newest of each subject, the newest for all
//	                 session                    asked for at sign-in        and of the agent
//
// Core NATS does not acknowledge a message. The server handles what a connection
// sends in its order, so a PONG says that the answer before it was taken.
//
// A listener gets a signed task with a proof for each agent, and a result as real agents
// send it, but for the code in it, which only a site checks: both are larger than what
// the others carry. An answer is safe, as ever with bugle, once it is in a file that is
// synced. The back end has no connection: it hands tasks over the listener's standard
// input, signed, and reads the files, for which it looks every 10 ms. What was missed is
// what not all have answered when the next task comes, within ten minutes. The folder of
// the files is emptied at the start.
//
// # Bounds
//
// A sign-in takes at most two minutes, so that no server is measured by how it serves
// those who have given up; a push takes at most one. In a storm a server's queue of
// connections overflows; mosquitto's has 100 places. An agent whose connection is left
// unanswered for 3 seconds dials again, or else those who were turned away would wait
// for longer and longer beside an idle server. (On other systems than Linux that holds
// for the connection alone, not for the first words on it.)
//
// Errors end with what the server wrote into its log last; the log is server.log in
// Config.Dir. Servers that are this program end when this process does, whatever way it
// ends; mosquitto is ended by Close.
package peer
