package listener

import (
	"crypto/tls"
	"reflect"
	"unsafe"

	"github.com/bugle-fleet/bugle/listener/poll"
)

// Ciphers is where crypto/tls keeps the state of both directions' ciphers: in each an AEAD
// in another. Crypto/tls does not promise that its fields are where they are now, nor that
// they stay: what is not found is not asked for, and asking for the wrong memory does no
// harm.
type ciphers struct{ in, out [2]uintptr }

// What a record needs of the two: of AES-GCM, which is the largest, all but the keys for
// decrypting blocks, for GCM has no use for them.
var (
	outerCipher = stretch{0, 32}
	blockKeys   = stretch{0, 248}
	hashKeys    = stretch{488, 296}
)

func ciphersOf(c *tls.Conn) ciphers {
	v := reflect.ValueOf(c).Elem()
	return ciphers{in: cipherIn(v.FieldByName("in")), out: cipherIn(v.FieldByName("out"))}
}

func cipherIn(half reflect.Value) (found [2]uintptr) {
	v := field(half, "cipher")
	for i := range found {
		if v.Kind() != reflect.Interface || v.Elem().Kind() != reflect.Pointer {
			break
		}
		found[i] = v.Elem().Pointer()
		v = field(v.Elem().Elem(), "aead")
	}
	return found
}

func field(v reflect.Value, name string) (f reflect.Value) {
	if v.Kind() == reflect.Struct {
		f = v.FieldByName(name)
	}
	return f
}

func fetchCipher(at [2]uintptr) {
	outer, inner := poll.Piece{At: at[0]}, poll.Piece{At: at[1]}
	if outer.At != 0 {
		outerCipher.of(outer)
	}
	if inner.At != 0 {
		blockKeys.of(inner)
		hashKeys.of(inner)
	}
}

// fetchTLS asks for what a record needs of a connection: waiting for that memory is much of
// what a record costs.
func (p *parked) fetchTLS(c *tls.Conn, reads bool) {
	conn := poll.PieceOf(c)
	poll.PieceOf(p.visitor).Part(0, visitorHead).Prefetch()
	tlsCommon.of(conn)
	tlsWriting.of(conn)
	tlsSending.of(conn)
	tlsClosing.of(conn)
	fetchCipher(p.ciphers.out)
	if reads {
		tlsReading.of(conn)
		tlsReceived.of(conn)
		fetchCipher(p.ciphers.in)
	}
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
				poll.Prefetch(&p.source)
			}
		}
	}
}

// visitorHead is so much of a visitor as is looked at with each read and write.
const visitorHead = unsafe.Offsetof(visitor{}.socket)

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
