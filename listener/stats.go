package listener

import (
	"sync/atomic"
	"time"
)

// Stats are the listener's figures at one moment. Fields that are not said to be
// current count since the start.
type Stats struct {
	Connections int // current, signed in or not
	Handshakes  int // current
	Waiting     int // current: connections that wait for a place to shake hands
	Sessions    int // current: devices that are signed in
	Operations  int // current: open ones
	Blocked     int // current: blocked devices that the feed told of
	Whole       bool

	HandshakeCost time.Duration // current: moving mean of the time that one is computed
	SignInRate    float64       // current: sign-ins a second that this machine can do, by that
	Spread        time.Duration // current: over which agents are told to spread a reconnect

	SignIns    uint64
	Refused    uint64 // connections not signed in or broken off for a protocol error, and join requests not granted
	Slowed     uint64 // of the refused: connections of addresses whose budget was used up
	CutSlow    uint64 // of the refused: connections that kept the listener waiting while others wanted in
	TooOften   uint64 // of the refused: sign-ins over TCP of devices that signed in again and again
	Owing      int    // current: addresses whose budget is used up
	Overflowed uint64 // of the refused: connections beyond what can be served before agents give up
	NoFiles    uint64 // times that newcomers were turned away because the process was short of descriptors
	Known      uint64 // certificates that were remembered
	Resumed    uint64 // handshakes over TCP with a session ticket
	Displaced  uint64
	TooSlow    uint64 // sessions cut because the agent did not read

	Pushes   uint64        // tasks sent, replays included
	Cancels  uint64        // cancels handed to sessions
	Results  uint64        // taken from agents
	Unknown  uint64        // of them final ones of operations that are not open
	LastPush time.Duration // from the last release, of an operation or of some of its devices, to its last session

	Renewals      uint64 // certificates that were renewed
	RenewsDropped uint64 // requests for one that got no answer: too many
	Keyring       uint32 // current: number of the newest that is handed out, 1 if there is none

	PendingResults   int // current: rows that are not on disk
	PendingInventory int // current: devices' facts that are not on disk
	PendingStatus    int // current
	SentLost         uint64

	Drops       uint64 // files
	FailedDrops uint64
	DropFailing bool // current: the last attempt failed
}

type counters struct {
	connections, handshakes, mostAgents             atomic.Int64
	signIns, refused, displaced, tooSlow            atomic.Uint64
	slowed, cutSlow, tooOften, overflowed, noFiles  atomic.Uint64
	resumed                                         atomic.Uint64
	pushes, results, unknownOps, sentLost, lastPush atomic.Uint64
	cancels, renewals, renewsDropped                atomic.Uint64
}

// Stats returns the listener's figures.
func (l *Listener) Stats() Stats {
	c := &l.count
	s := Stats{
		Connections: int(c.connections.Load()), Handshakes: int(c.handshakes.Load()),
		SignIns: c.signIns.Load(), Refused: c.refused.Load(), Displaced: c.displaced.Load(), TooSlow: c.tooSlow.Load(),
		Pushes: c.pushes.Load(), Results: c.results.Load(), Unknown: c.unknownOps.Load(),
		LastPush: time.Duration(c.lastPush.Load()), SentLost: c.sentLost.Load(),
		PendingResults: l.results.held(), PendingInventory: l.facts.held(), PendingStatus: l.status.held(),
		Drops: l.files.dropped.Load(), FailedDrops: l.files.failed.Load(), DropFailing: l.files.failing.Load(),
	}
	s.Cancels, s.Renewals, s.RenewsDropped = c.cancels.Load(), c.renewals.Load(), c.renewsDropped.Load()
	s.Slowed, s.CutSlow, s.TooOften, s.Owing = c.slowed.Load(), c.cutSlow.Load(), c.tooOften.Load(), l.budgets.owing(time.Now())
	s.Overflowed, s.NoFiles, s.Known, s.Resumed = c.overflowed.Load(), c.noFiles.Load(), l.verified.hits.Load(), c.resumed.Load()
	s.Waiting = l.lobby.waits() + l.webLobby.waits()
	s.HandshakeCost, s.SignInRate, s.Spread = l.pace.mean(), l.rate(), l.spread()
	s.Keyring = l.table.newestRing()
	s.Operations, s.Sessions, s.Blocked = l.table.counts()
	select {
	case <-l.whole:
		s.Whole = true
	default:
	}
	return s
}
