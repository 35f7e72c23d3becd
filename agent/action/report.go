package action

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is reported: a fact, the facts of one message, and a list, which
// becomes several facts.
const (
	maxPart   = 4000 // bytes
	minPart   = 1000 // but for the last
	maxParts  = 144
	sendBytes = 40 << 10
	sendFacts = 400
)

// addParts adds a list of lines as NAME.000, NAME.001 and so on, and their number as
// NAME.parts: what an earlier, longer list left behind does not count. Lines that
// have no room are counted in NAME.more. Where a part ends depends on its last line
// alone, if it can, so that a line more or less changes few parts.
func (f *facts) addParts(name string, lines []string) {
	var part strings.Builder
	n, more := 0, 0
	flush := func() {
		if part.Len() > 0 {
			f.list = append(f.list, Fact{fmt.Sprintf("%s.%03d", name, n), part.String()})
			part.Reset()
			n++
		}
	}
	for i, line := range lines {
		line = cut(line, maxFactValue)
		if part.Len()+len(line)+1 > maxPart {
			flush()
		}
		if n == maxParts {
			more = len(lines) - i
			break
		}
		if part.Len() > 0 {
			part.WriteByte('\n')
		}
		part.WriteString(line)
		if part.Len() >= minPart && endsPart(line) {
			flush()
		}
	}
	flush()
	f.add(name+".parts", strconv.Itoa(n))
	f.add(name+".more", strconv.Itoa(more))
}

// endsPart is so for one line of 32.
func endsPart(line string) bool {
	h := fnv.New32a()
	io.WriteString(h, line)
	return h.Sum32()%32 == 0
}

// report sends what changed of a topic, and says for people how much that was.
func report(ctx context.Context, host Host, topic string, list []Fact) (string, error) {
	changed, done, err := host.Changes(ctx, topic, list)
	if err != nil {
		return "", err
	}
	if err := send(ctx, host, changed); err != nil {
		return "", err
	}
	done()
	if len(changed) == len(list) {
		return fmt.Sprintf("%d facts", len(list)), nil
	}
	return fmt.Sprintf("%d facts, %d of them changed", len(list), len(changed)), nil
}

// looked is the fact that says when a topic of the inventory was looked at, which
// always changes.
func looked(topic string) Fact {
	return Fact{"inventory." + topic, time.Now().UTC().Format(time.RFC3339)}
}

// send sends facts in as many messages as they need.
func send(ctx context.Context, host Host, list []Fact) error {
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) && n < sendFacts {
			size += len(list[n].Name) + len(list[n].Value) + 8
			if n > 0 && size > sendBytes {
				break
			}
			n++
		}
		if err := host.SendFacts(ctx, list[:n:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
