package peer

import (
	"encoding/binary"
	"fmt"
)

// The sizes of what is sent, which are about those of a signed task and a result.
const (
	numberSize = 8
	taskSize   = numberSize + 200
	answerSize = 60
)

// taskPayload is a task: its number, and bytes that stand for what it says.
func taskPayload(number uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, taskSize), number)
	for len(b) < taskSize {
		b = append(b, byte(len(b)))
	}
	return b
}

// answerPayload is an agent's answer: the task's number, the agent's, and bytes that
// stand for the rest.
func answerPayload(number uint64, agent int) (b [answerSize]byte) {
	binary.BigEndian.PutUint64(b[:], number)
	binary.BigEndian.PutUint32(b[numberSize:], uint32(agent))
	return b
}

// taskNumber reads the number of a task.
func taskNumber(payload []byte) (uint64, error) {
	if len(payload) != taskSize {
		return 0, fmt.Errorf("read task: %d bytes are not %d", len(payload), taskSize)
	}
	return binary.BigEndian.Uint64(payload), nil
}

// readAnswer reads an answer.
func readAnswer(payload []byte) (number uint64, agent int, err error) {
	if len(payload) != answerSize {
		return 0, 0, fmt.Errorf("read answer: %d bytes are not %d", len(payload), answerSize)
	}
	return binary.BigEndian.Uint64(payload), int(binary.BigEndian.Uint32(payload[numberSize:])), nil
}
