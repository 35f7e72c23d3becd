package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

// A frame of the goroutine server is the length of what follows it (4 bytes, big
// endian), a kind (1 byte), a number of a task (8 bytes) and a body.
const (
	frameLength = 4
	frameHead   = 1 + numberSize
)

// The kinds of frames, with who sends them and their bodies.
const (
	frameHello   = iota + 1 // agent: the newest task that it has had
	frameWelcome            // server: it has taken the agent
	frameTask               // server: body is the task
	frameAnswer             // agent to server, server to back end: body is the answer
	frameAck                // server: it has the agent's answer
	framePush               // back end: body is the task and, for some agents, a bitmap of them
	frameTaken              // server to back end: it has the task
	framePing               // agent or back end: is answered with the same
)

// maxFrame bounds what follows a frame's length: a push to some of [maxAgents].
const maxFrame = frameHead + taskSize + maxAgents/8

// errFrame is wrapped by the errors about frames that are wrong.
var errFrame = errors.New("wrong frame")

// A frame is one as it came. Its body is valid until the next is read.
type frame struct {
	kind   byte
	number uint64
	body   []byte
}

func appendFrame(b []byte, kind byte, number uint64, body ...byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(frameHead+len(body)))
	b = binary.BigEndian.AppendUint64(append(b, kind), number)
	return append(b, body...)
}

// readFrame reads one frame; r's buffer must hold it.
func readFrame(r *bufio.Reader) (f frame, err error) {
	b, err := r.Peek(frameLength)
	if err != nil {
		return f, err
	}
	length := binary.BigEndian.Uint32(b)
	if length < frameHead || length > maxFrame || int(length)+frameLength > r.Size() {
		return f, fmt.Errorf("%w: %d bytes", errFrame, length)
	}
	if b, err = r.Peek(frameLength + int(length)); err != nil {
		return f, err
	}
	b = b[frameLength:]
	f = frame{kind: b[0], number: binary.BigEndian.Uint64(b[1:]), body: b[frameHead:]}
	_, err = r.Discard(frameLength + int(length))
	return f, err
}

// appendAgents appends a bitmap of agents.
func appendAgents(b []byte, agents []int) []byte {
	from := len(b)
	for _, a := range agents {
		for len(b)-from <= a/8 {
			b = append(b, 0)
		}
		b[from+a/8] |= 1 << (a % 8)
	}
	return b
}

// hasAgent tells whether a bitmap has an agent.
func hasAgent(bitmap []byte, agent int) bool {
	return agent/8 < len(bitmap) && bitmap[agent/8]&(1<<(agent%8)) != 0
}
