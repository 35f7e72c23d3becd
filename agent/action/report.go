package action

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of what is reported: a fact, the facts of one message, and a list, which
// becomes several facts.
const (
	maxPart   = 4000 // bytes
	maxParts  = 64
	sendBytes = 40 << 10
	sendFacts = 400
)

// addParts adds a list of lines as NAME.000, NAME.001 and so on, and their number as
// NAME.parts: what an earlier, longer list left behind does not count. Lines that
// have no room are counted in NAME.more.
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
	}
	flush()
	f.add(name+".parts", strconv.Itoa(n))
	f.add(name+".more", strconv.Itoa(more))
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
