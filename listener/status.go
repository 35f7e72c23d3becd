package listener

import (
	"context"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// A messageNumber is the stable number of a status message; doc.go lists them.
type messageNumber uint32

const (
	msgDropFails  messageNumber = 3001
	msgDropWorks  messageNumber = 3002
	msgFeedBroken messageNumber = 3003
	msgNotServed  messageNumber = 3004
	msgSentLost   messageNumber = 3005
	msgBlocked    messageNumber = 3006
	msgTooSlow    messageNumber = 3007
	msgProtocol   messageNumber = 3008
	msgFull       messageNumber = 3009
	msgKeyring    messageNumber = 3010
	msgRenewFails messageNumber = 3011
	msgRenewOften messageNumber = 3012
	msgSlowed     messageNumber = 3013
	msgOverflow   messageNumber = 3014
	msgNoFiles    messageNumber = 3015
)

// The severities that status files carry, which are those of the journal's
// events.
const (
	info    uint8 = 1
	warning uint8 = 2
	failure uint8 = 3
)

var severities = map[messageNumber]uint8{msgDropFails: failure, msgDropWorks: info, msgFeedBroken: warning,
	msgNotServed: failure, msgSentLost: warning, msgBlocked: info, msgTooSlow: warning, msgProtocol: warning, msgFull: warning,
	msgKeyring: failure, msgRenewFails: failure, msgRenewOften: warning, msgSlowed: warning,
	msgOverflow: warning, msgNoFiles: failure}

// Bounds of what a listener says of itself.
const (
	statusRows     = 4096
	statusBytes    = 4 << 20
	statusPerFile  = 1000
	maxRefused     = 1024 // addresses and reasons counted in one minute
	maxRepeated    = 4096 // messages and devices remembered for one minute
	otherAddresses = "others"
)

// status is what the listener says of itself. A message about one device is said
// at most once a minute; refused strangers are counted, not listed.
type status struct {
	*spool[box.StatusRecord]

	mu      sync.Mutex
	refused map[refusal]uint32
	said    map[saying]struct{}
}

type refusal struct{ where, address, reason string }

type saying struct {
	number messageNumber
	device uint32
}

func newStatus(gather time.Duration) *status {
	return &status{refused: make(map[refusal]uint32), said: make(map[saying]struct{}),
		spool: newSpool(nil, gather, statusPerFile, statusRows, statusBytes,
			func(r []box.StatusRecord) box.Contents { return &box.Status{Records: r} }, nil)}
}

// record says r; if too much waits for the disk it is left out.
func (s *status) record(r box.StatusRecord) {
	r.At = time.Now()
	s.offer(item[box.StatusRecord]{row: r, size: rowSize + len(r.Text), at: r.At})
}

func (s *status) message(n messageNumber, device uint32, text string) {
	k := saying{n, device}
	s.mu.Lock()
	_, again := s.said[k]
	if !again && len(s.said) < maxRepeated {
		s.said[k] = struct{}{}
	} else {
		again = true
	}
	s.mu.Unlock()
	if !again {
		s.record(box.StatusRecord{Type: box.Message, Component: "listener", Number: uint32(n),
			Severity: severities[n], Device: device, Text: text})
	}
}

// refuse counts a stranger who was turned away.
func (s *status) refuse(where, address, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := refusal{where, address, reason}
	if _, ok := s.refused[k]; !ok && len(s.refused) >= maxRefused {
		k.address = otherAddresses
	}
	s.refused[k]++
}

// minutes tells every minute who was refused, until ctx ends.
func (s *status) minutes(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.tell()
		case <-ctx.Done():
			return
		}
	}
}

func (s *status) tell() {
	s.mu.Lock()
	refused := s.refused
	s.refused = make(map[refusal]uint32)
	clear(s.said)
	s.mu.Unlock()
	for k, n := range refused {
		s.record(box.StatusRecord{Type: box.Refused, Where: k.where, Address: k.address, Text: k.reason, Count: n})
	}
}
