package peer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// The messages of a NATS server that are told apart.
const (
	natsInfo = iota + 1
	natsPing
	natsPong
	natsOK
	natsError
	natsMessage
)

// maxMessage bounds a message with its headers. It leaves room for its line end in the
// smallest buffer that messages are read with.
const maxMessage = 1024

// errNATS is wrapped by the errors about messages that are wrong.
var errNATS = errors.New("wrong NATS message")

// A natsOp is one message of the server. Its payload is valid until the next is read.
type natsOp struct {
	kind    int
	sid     int    // the subscription of a message
	payload []byte // of a message, without headers
	text    string // of an error
}

var crlf = []byte("\r\n")

// readNATS reads one message; r's buffer must hold it.
func readNATS(r *bufio.Reader) (o natsOp, err error) {
	line, err := r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return o, fmt.Errorf("%w: a line is too long", errNATS)
	}
	if err != nil {
		return o, err
	}
	line, ok := bytes.CutSuffix(line, crlf)
	if !ok {
		return o, fmt.Errorf("%w: a line does not end with CR and LF", errNATS)
	}
	word, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(word) {
	case "INFO":
		return natsOp{kind: natsInfo}, nil
	case "PING":
		return natsOp{kind: natsPing}, nil
	case "PONG":
		return natsOp{kind: natsPong}, nil
	case "+OK":
		return natsOp{kind: natsOK}, nil
	case "-ERR":
		return natsOp{kind: natsError, text: string(rest)}, nil
	case "MSG":
		return readMessage(r, bytes.Fields(rest), false)
	case "HMSG":
		return readMessage(r, bytes.Fields(rest), true)
	}
	return o, fmt.Errorf("%w: %q", errNATS, word[:min(len(word), 16)])
}

// readMessage reads what follows the line of MSG or, with headers, HMSG.
func readMessage(r *bufio.Reader, fields [][]byte, headers bool) (o natsOp, err error) {
	sizes := 1
	if headers {
		sizes = 2
	}
	n := len(fields) - sizes
	if n != 2 && n != 3 { // subject, sid, and perhaps where to answer
		return o, fmt.Errorf("%w: a message's line has %d parts", errNATS, len(fields))
	}
	o.kind = natsMessage
	total, err := natsNumber(fields[len(fields)-1], maxMessage)
	if err != nil {
		return o, err
	}
	skip := 0
	if headers {
		if skip, err = natsNumber(fields[n], total); err != nil {
			return o, err
		}
	}
	if o.sid, err = natsNumber(fields[1], 1<<30); err != nil {
		return o, err
	}
	b, err := r.Peek(total + len(crlf))
	if err != nil {
		return o, err
	}
	if !bytes.HasSuffix(b, crlf) {
		return o, fmt.Errorf("%w: a message does not end with CR and LF", errNATS)
	}
	o.payload = b[skip:total]
	_, err = r.Discard(len(b))
	return o, err
}

// natsNumber reads a number from 0 to limit.
func natsNumber(b []byte, limit int) (int, error) {
	n, err := strconv.ParseUint(string(b), 10, 31)
	if err != nil || int(n) > limit {
		return 0, fmt.Errorf("%w: %q is no number from 0 to %d", errNATS, b[:min(len(b), 16)], limit)
	}
	return int(n), nil
}

// appendPub appends PUB; reply may be empty.
func appendPub(b []byte, subject, reply string, payload []byte) []byte {
	b = append(append(b, "PUB "...), subject...)
	if reply != "" {
		b = append(append(b, ' '), reply...)
	}
	b = strconv.AppendInt(append(b, ' '), int64(len(payload)), 10)
	b = append(append(b, crlf...), payload...)
	return append(b, crlf...)
}

// appendSub appends SUB.
func appendSub(b []byte, subject string, sid int) []byte {
	return fmt.Appendf(b, "SUB %s %d\r\n", subject, sid)
}
