package listener

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// A forger is a device that has shaken hands as others do, and makes its records
// by hand from then on: it may send what crypto/tls never does.
type forger struct {
	raw    net.Conn
	secret []byte // of what it sends
	aead   cipher.AEAD
	iv     []byte
	number uint64 // of the next record
	begun  bool   // a frame that never ends
	out    []byte // records that are not sent yet
}

// The types of records inside, by RFC 8446.
const (
	recordHandshake   = 22
	recordApplication = 23
)

// forge signs a device in that makes its records by hand.
func (b *bench) forge(device uint32) *forger {
	b.t.Helper()
	raw, err := b.dial()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { raw.Close() })
	f, err := forgerOn(raw, b.pki.client(device))
	if errors.Is(err, errNotAES) {
		b.t.Skip(err)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	f.message(&wire.SignIn{Version: wire.Version, Agent: "forger"})
	f.flush()
	b.awaitStats(func(Stats) bool { return b.sessionOf(device) != nil })
	return f
}

func (b *bench) sessionOf(device uint32) *session {
	b.l.table.mu.Lock()
	defer b.l.table.mu.Unlock()
	s, _ := b.l.table.sessions[device].(*session)
	return s
}

var errNotAES = errors.New("records are made by hand for AES-128 only, and this processor prefers another")

func forgerOn(raw net.Conn, config *tls.Config) (*forger, error) {
	var keys bytes.Buffer
	config.KeyLogWriter = &keys
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	if conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, errNotAES
	}
	f := &forger{raw: raw}
	for line := range strings.Lines(keys.String()) {
		if words := strings.Fields(line); words[0] == "CLIENT_TRAFFIC_SECRET_0" {
			f.secret, _ = hex.DecodeString(words[2])
		}
	}
	f.rekey()
	go io.Copy(io.Discard, raw)
	return f, nil
}

// rekey begins anew with the secret.
func (f *forger) rekey() {
	block, err := aes.NewCipher(f.expand("key", 16))
	if err == nil {
		f.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		panic(err)
	}
	f.iv, f.number = f.expand("iv", 12), 0
}

// expand is HKDF-Expand-Label of the secret without a context.
func (f *forger) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	out, err := hkdf.Expand(sha256.New, f.secret, string(info)+label+"\x00", n)
	if err != nil {
		panic(err)
	}
	return out
}

func (f *forger) record(kind byte, content []byte) {
	inner := append(bytes.Clone(content), kind)
	head := binary.BigEndian.AppendUint16([]byte{recordApplication, 3, 3}, uint16(len(inner)+f.aead.Overhead()))
	nonce := bytes.Clone(f.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, f.number) {
		nonce[4+i] ^= b
	}
	f.number++
	f.out = f.aead.Seal(append(f.out, head...), nonce, inner, head)
}

func (f *forger) message(m wire.Message) {
	frame, err := wire.Append(nil, m)
	if err != nil {
		panic(err)
	}
	f.record(recordApplication, frame)
}

// keyUpdate changes the key, and asks the other side to change its own if it is to
// answer.
func (f *forger) keyUpdate(answer bool) {
	ask := byte(0)
	if answer {
		ask = 1
	}
	f.record(recordHandshake, []byte{24, 0, 0, 1, ask})
	f.secret = f.expand("traffic upd", sha256.Size)
	f.rekey()
}

// flush sends what was made; false means that the connection has ended.
func (f *forger) flush() bool {
	_, err := f.raw.Write(f.out)
	f.out = f.out[:0]
	return err == nil
}

// floods are what a device may send that costs more than it says.
var floods = map[string]func(*forger){
	"key updates":          func(f *forger) { f.keyUpdate(false) },
	"key updates, answers": func(f *forger) { f.keyUpdate(true) },
	"key updates, a byte": func(f *forger) {
		for _, b := range []byte{0, 0, 0, 1, 201} {
			for range 16 {
				f.keyUpdate(true)
			}
			f.record(recordApplication, []byte{b})
		}
	},
	"key updates in a frame": func(f *forger) {
		if !f.begun {
			f.begun = true
			f.record(recordApplication, append(binary.BigEndian.AppendUint32(nil, wire.MaxFrame-4), byte(wire.TypeInventory)))
		}
		for range 16 {
			f.keyUpdate(true)
		}
		f.record(recordApplication, []byte{0})
	},
	"empty records": func(f *forger) { f.record(recordApplication, nil) },
	"a byte a record": func(f *forger) {
		for _, b := range []byte{0, 0, 0, 1, 201} { // of a type that nobody knows yet
			f.record(recordApplication, []byte{b})
		}
	},
	"a padded byte a record": func(f *forger) {
		for _, b := range []byte{0, 0, 0, 1, 201} {
			f.padded([]byte{b}, 4000)
		}
	},
	"tiny frames": func(f *forger) { f.record(recordApplication, bytes.Repeat([]byte{0, 0, 0, 1, 201}, 100)) },
}

// padded is a record of application data with zeros behind it.
func (f *forger) padded(content []byte, zeros int) {
	inner := append(append(bytes.Clone(content), recordApplication), make([]byte, zeros)...)
	f.record(0, inner) // the last byte is one more zero
}

// Changes of keys end a session: at once if they want an answer, else when they are more
// than the listener may have read ahead of records with data.
func TestKeyUpdatesEndSessions(t *testing.T) {
	const keyUpdateSize = recordHead + 5
	for name, c := range map[string]struct {
		updates int
		answer  bool
		ends    bool
	}{
		"one with an answer":         {1, true, true},
		"some":                       {(mostBeyond-poll.MaxRead)/keyUpdateSize - 10, false, false},
		"many":                       {mostBeyond/keyUpdateSize + 10, false, true},
		"one that wants no answer":   {1, false, false},
		"none, and data a byte each": {0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := parkedBench(t, patient, nil)
			f := b.forge(7)
			s := b.sessionOf(7)
			for i := range c.updates {
				if f.keyUpdate(c.answer); i%16 == 15 { // else crypto/tls ends it
					for _, b := range []byte{0, 0, 0, 1, 201} {
						f.record(recordApplication, []byte{b})
					}
				}
			}
			for range 2000 {
				f.record(recordApplication, []byte{0})
				f.record(recordApplication, []byte{0, 0, 1, 201})
			}
			f.message(&wire.Bye{})
			f.flush()
			b.awaitStats(func(Stats) bool { return s.hasEnded() })
			b.awaitParked(0)
			if broke := b.l.Stats().Refused == 1; broke != c.ends {
				t.Errorf("ended as one that breaks TLS: %t, want %t", broke, c.ends)
			}
		})
	}
}

// Whatever sizes the frames and the records of an agent have, crypto/tls makes none that
// hold nothing.
func TestManyRecordsEndNoSession(t *testing.T) {
	b := parkedBench(t, patient, func(c *Config) { c.Limits.MessageBurst = 1 << 20 })
	raw, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, b.pki.client(7))
	if err := tell(conn, &wire.SignIn{Version: wire.Version, Agent: "talkative"}); err != nil {
		t.Fatal(err)
	}
	b.awaitStats(func(Stats) bool { return b.sessionOf(7) != nil })
	s := b.sessionOf(7)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + random.IntN(1<<random.IntN(17))
		frame := binary.BigEndian.AppendUint32(nil, uint32(min(n, wire.MaxFrame-4)))
		frame = append(frame, 201) // of a type that nobody knows yet
		frame = append(frame, make([]byte, min(n, wire.MaxFrame-4)-1)...)
		for len(frame) > 0 {
			n := min(len(frame), 1+random.IntN(1<<random.IntN(17)))
			if _, err := conn.Write(frame[:n]); err != nil {
				t.Fatal(err)
			}
			frame = frame[n:]
		}
	}
	if err := tell(conn, &wire.Bye{}); err != nil {
		t.Fatal(err)
	}
	b.awaitStats(func(Stats) bool { return s.hasEnded() })
	if n := b.l.Stats().Refused; n != 0 {
		t.Errorf("%d refused", n)
	}
}

const floodBatch = 200 // of them are sent at once

// TestFloods lets a device send what costs more than it says, as fast as it can:
// it is not read for a while, or its session is ended, and nobody else is hurt.
func TestFloods(t *testing.T) {
	for _, park := range []Park{ParkTLS, ParkKeys} {
		for name, more := range floods {
			t.Run(string(park)+"/"+name, func(t *testing.T) { isFlooded(t, park, more) })
		}
	}
}

func isFlooded(t *testing.T, park Park, more func(*forger)) {
	hasty := patient
	hasty.close = 100 * time.Millisecond // for last words that a flood would keep from being drained
	b := parkedBench(t, hasty, func(c *Config) {
		c.Park = park
		c.Limits.MessageRate, c.Limits.MessageBurst = 1, 100
	})
	honest := b.signIn(8)
	f := b.forge(7)
	s := b.sessionOf(7)
	over := start(func() error {
		for f.flush() {
			for range floodBatch {
				more(f)
			}
		}
		return nil
	})
	b.awaitStats(func(Stats) bool { return s.hasEnded() || s.wait(time.Now()) > 0 })
	honest.alone()
	t.Logf("ended: %v", s.hasEnded())
	b.tell(BlockDevice{7}) // ends it, whatever of it is not read
	b.awaitParked(1)
	f.raw.Close()
	over()
	honest.alone()
}
