package listener

import (
	"crypto/tls"
	"reflect"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/tlsrecord"
)

// A layout is where the memory is that a session's connection needs for a record: much of
// what a record costs is waiting for it. Crypto/tls does not promise that its fields are
// where they are now, nor that they stay: what is not found is not asked for, and asking
// for the wrong memory does no harm.
type layout struct {
	visitor *visitor // below TLS, or nil
	conn    poll.Piece
	whole   bool    // all of conn is for both directions
	in, out ciphers // of a tls.Conn
}

// Ciphers is the state of the cipher of one direction: an AEAD in another.
type ciphers [2]poll.Piece

func layoutOf(conn connection) (l layout) {
	switch c := conn.(type) {
	case *tls.Conn:
		v := reflect.ValueOf(c).Elem()
		l.conn, l.in, l.out = poll.PieceOf(c), ciphersIn(v.FieldByName("in")), ciphersIn(v.FieldByName("out"))
		l.visitor, _ = c.NetConn().(*visitor)
	case *tlsrecord.Conn:
		l.conn, l.whole = poll.PieceOf(c), true
	}
	return l
}

// fetch asks for what is needed to write, and to read.
func (l *layout) fetch(reads bool) {
	if l.whole {
		l.conn.Prefetch()
		return
	}
	poll.Prefetch(l.visitor)
	tlsCommon.of(l.conn)
	tlsWriting.of(l.conn)
	tlsSending.of(l.conn)
	tlsClosing.of(l.conn)
	l.out.fetch()
	if reads {
		tlsReading.of(l.conn)
		tlsReceived.of(l.conn)
		l.in.fetch()
	}
}

func (c *ciphers) fetch() {
	c[0].Prefetch()
	c[1].Prefetch()
}

// Ahead is how many places before its turn a session of a list is asked for.
const ahead = 8

func fetchSession(of []receiver, i int) {
	if i += ahead; i < len(of) {
		if s, ok := of[i].(*session); ok {
			poll.Prefetch(s)
		}
	}
}

func fetchDriver(of []receiver, i int) {
	if i += ahead; i < len(of) {
		if s, ok := of[i].(*session); ok {
			if p, ok := s.driver.(*parked); ok {
				poll.Prefetch(p)
			}
		}
	}
}

// The fields of a tls.Conn that records need.
var (
	tlsCommon   = fields("conn", "config")
	tlsWriting  = fields("out", "out")
	tlsSending  = fields("buffering", "activeCall")
	tlsClosing  = fields("closeNotifySent", "closeNotifySent")
	tlsReading  = fields("in", "in")
	tlsReceived = fields("rawInput", "hand")
)

type stretch struct{ offset, size uintptr }

// fields is from the first of two fields to the last.
func fields(first, last string) (s stretch) {
	t := reflect.TypeFor[tls.Conn]()
	from, ok := t.FieldByName(first)
	to, too := t.FieldByName(last)
	if !ok || !too || to.Offset < from.Offset {
		return s
	}
	return stretch{from.Offset, to.Offset + to.Type.Size() - from.Offset}
}

func (s stretch) of(conn poll.Piece) {
	if s.size > 0 {
		conn.Part(s.offset, s.size).Prefetch()
	}
}

func ciphersIn(half reflect.Value) (found ciphers) {
	v := field(half, "cipher")
	for i := range found {
		if v.Kind() != reflect.Interface || v.Elem().Kind() != reflect.Pointer {
			break
		}
		p := v.Elem()
		found[i] = poll.Piece{At: p.Pointer(), Size: p.Type().Elem().Size()}
		v = field(p.Elem(), "aead")
	}
	return found
}

func field(v reflect.Value, name string) (f reflect.Value) {
	if v.Kind() == reflect.Struct {
		f = v.FieldByName(name)
	}
	return f
}
