package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is the longest line of a stream of server-sent events in bytes.
const maxLine = 4 << 20

// A message is one server-sent event.
type message struct {
	id, name string
	data     []byte
}

// stream makes a call whose answer is server-sent events and hands each to take
// until the stream ends, which is nil, or take returns an error.
func (c *client) stream(ctx context.Context, r request, take func(message) error) error {
	r.stream = true
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		return fmt.Errorf("read stream of %s: it is of type %q", c.at.base.Host, clean(kind))
	}
	var stop *stopError
	switch err := readMessages(response.Body, take); {
	case errors.As(err, &stop):
		return stop.error
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("read stream of %s: a line of more than %d bytes", c.at.base.Host, maxLine)
	case err != nil:
		return c.unreachable(ctx, err)
	}
	return nil
}

// stopError is an error of the one who takes messages, not of the stream.
type stopError struct{ error }

func readMessages(r io.Reader, take func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var m message
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if m.data != nil {
				if err := take(m); err != nil {
					return &stopError{err}
				}
			}
			m = message{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			m.id = string(value)
		case "event":
			m.name = string(value)
		case "data":
			if len(m.data)+len(value) > maxLine {
				return bufio.ErrTooLong
			}
			if m.data != nil {
				m.data = append(m.data, '\n')
			}
			m.data = append(m.data, value...)
		}
	}
	return lines.Err()
}
