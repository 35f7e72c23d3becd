package carrier

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	sessionHeader = "Bugle-Session"
	holdParameter = "hold"

	maxHold  = 25 * time.Second // that the listener lets a request wait
	leastCut = 5 * time.Second  // the shortest wait that an agent asks for
)

// What a request of a long poll wants.
type verb uint8

const (
	verbOpen verb = iota + 1
	verbUp
	verbDown
	verbHangUp
)

// A request is one of a long poll, as far as its line says.
type request struct {
	verb    verb
	session string        // but of verbOpen
	number  uint64        // of verbUp and verbDown, from 1
	hold    time.Duration // of verbDown, at most maxHold
}

var (
	errNoSuchPath = errors.New("path is not one of a long poll")
	errMethod     = errors.New("method does not fit the path")
	errHold       = errors.New("hold is not a number of seconds")
)

// parseRequest reads the line of a request.
func parseRequest(method string, u *url.URL) (request, error) {
	rest, ok := strings.CutPrefix(u.Path, PollPath)
	if !ok {
		return request{}, errNoSuchPath
	}
	if rest == "" {
		if method != http.MethodPost {
			return request{}, errMethod
		}
		return request{verb: verbOpen}, nil
	}
	session, number, numbered := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if rest[0] != '/' || !isSession(session) {
		return request{}, errNoSuchPath
	}
	if !numbered {
		if method != http.MethodDelete {
			return request{}, errMethod
		}
		return request{verb: verbHangUp, session: session}, nil
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return request{}, errNoSuchPath
	}
	switch method {
	case http.MethodPost:
		return request{verb: verbUp, session: session, number: n}, nil
	case http.MethodGet:
		hold, err := parseHold(u.Query().Get(holdParameter))
		return request{verb: verbDown, session: session, number: n, hold: hold}, err
	}
	return request{}, errMethod
}

func parseHold(text string) (time.Duration, error) {
	if text == "" {
		return maxHold, nil
	}
	s, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errHold
	}
	return min(time.Duration(s)*time.Second, maxHold), nil
}

const sessionDigits = 32

func newSession() string {
	var b [sessionDigits / 2]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func isSession(s string) bool {
	return len(s) == sessionDigits && strings.Trim(s, "0123456789abcdef") == ""
}
