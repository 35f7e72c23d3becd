package admin

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// large is the number of devices above which a command is not carried out
// without a yes.
const large = 50

// asks tells whether there is somebody to ask.
func (s *session) asks() bool { return s.isTerminal(s.in) && s.isTerminal(s.err) }

// confirm lets a command go on that is for so many devices. On a terminal it
// asks if the command is one to ask about (always) or a large one; elsewhere a
// large one needs --yes.
func (s *session) confirm(yes, always bool, devices int, question string) error {
	switch {
	case yes:
		return nil
	case !s.asks() && devices > large:
		return usage("this is for %d devices, more than %d, and there is no terminal to ask on: look with --dry-run or 'bugle devices list', then give --yes", devices, large)
	case !s.asks() || !always && devices <= large:
		return nil
	}
	fmt.Fprint(s.err, clean(question)+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(s.in).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errors.New("nothing was done: the answer was not yes")
	case <-s.ctx.Done():
		fmt.Fprintln(s.err)
		return errors.New("nothing was done: interrupted")
	}
}
