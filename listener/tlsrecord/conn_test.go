package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
)

// TestSize fails if an idle connection becomes larger than its keys and counters.
func TestSize(t *testing.T) {
	if n := reflect.TypeFor[Conn]().Size(); n > 128 {
		t.Errorf("a connection is of %d bytes", n)
	}
}

// refused lets bytes come behind a record that is fine, and checks the error and
// what the client is told.
func refused(t *testing.T, want tls.AlertError, bad func(m *meeting) []byte) {
	t.Helper()
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	wrong := bad(m)
	if _, err := m.theirs.Write([]byte("fine")); err != nil {
		t.Fatal(err)
	}
	m.receive(wrong)
	expect(t, m.ours, []byte("fine"), 100)
	for range 2 {
		_, err := m.ours.Read(make([]byte, 10))
		if e, ok := errors.AsType[*ProtocolError](err); !ok || e.Alert != want || !errors.Is(err, want) || e.Why == "" {
			t.Errorf("error %v, want alert %v", err, want)
		}
	}
	if _, err := m.ours.Write([]byte("x")); err == nil {
		t.Error("something can be written behind an alert")
	}
	if err := m.ours.CloseWrite(); err != nil {
		t.Error(err)
	}
	_, err := m.theirs.Read(make([]byte, 10))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Err.Error() != want.Error() {
		t.Errorf("the client is told %v, want %v", err, want)
	}
	if left := m.far.in.taken(); len(left) > 0 {
		t.Errorf("%d bytes came behind the alert", len(left))
	}
}

// second seals a record as the client would behind its first.
func second(t *testing.T, m *meeting, typ byte, data []byte) []byte {
	seal := m.forge(t)
	seal(typeData, []byte("fine"))
	return seal(typ, data)
}

func TestRefusedRecords(t *testing.T) {
	for name, c := range map[string]struct {
		alert tls.AlertError
		bad   func(t *testing.T, m *meeting) []byte
	}{
		"changed": {badRecordMAC, func(t *testing.T, m *meeting) []byte {
			b := second(t, m, typeData, []byte("hello"))
			b[len(b)-1] ^= 1
			return b
		}},
		"other length": {badRecordMAC, func(t *testing.T, m *meeting) []byte {
			b := second(t, m, typeData, []byte("hello"))
			b[4]--
			return b[:len(b)-1]
		}},
		"twice": {badRecordMAC, func(t *testing.T, m *meeting) []byte { return m.forge(t)(typeData, []byte("fine")) }},
		"too short": {badRecordMAC, func(*testing.T, *meeting) []byte {
			return append([]byte{typeData, 3, 3, 0, overhead - 1}, make([]byte, overhead-1)...)
		}},
		"too long":       {recordOverflow, func(*testing.T, *meeting) []byte { return []byte{typeData, 3, 3, 0x41, 1} }},
		"holds too much": {recordOverflow, func(t *testing.T, m *meeting) []byte { return second(t, m, typeData, make([]byte, maxPlaintext+1)) }},
		"padded too much": {recordOverflow, func(t *testing.T, m *meeting) []byte {
			return second(t, m, 0, append([]byte{1, typeData}, make([]byte, maxPlaintext)...))
		}},
		"other version":        {protocolVersion, func(*testing.T, *meeting) []byte { return []byte{typeData, 3, 1, 0, 30} }},
		"only padding":         {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, 0, make([]byte, 20)) }},
		"change cipher spec":   {unexpectedMessage, func(*testing.T, *meeting) []byte { return []byte{20, 3, 3, 0, 1, 1} }},
		"alert in the clear":   {unexpectedMessage, func(*testing.T, *meeting) []byte { return []byte{typeAlert, 3, 3, 0, 2, 1, 0} }},
		"key update":           {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, typeHandshake, []byte{24, 0, 0, 1, 0}) }},
		"key update asked for": {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, typeHandshake, []byte{24, 0, 0, 1, 1}) }},
		"empty handshake":      {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, typeHandshake, nil) }},
		"unknown type":         {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, 99, []byte("?")) }},
		"change cipher inside": {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, 20, []byte{1}) }},
		"half an alert":        {unexpectedMessage, func(t *testing.T, m *meeting) []byte { return second(t, m, typeAlert, []byte{1}) }},
		"too many empty": {unexpectedMessage, func(t *testing.T, m *meeting) (all []byte) {
			seal := m.forge(t)
			seal(typeData, []byte("fine"))
			for range maxUseless + 1 {
				all = append(all, seal(typeData, nil)...)
			}
			return all
		}},
		"too many warnings": {unexpectedMessage, func(t *testing.T, m *meeting) (all []byte) {
			seal := m.forge(t)
			seal(typeData, []byte("fine"))
			for range maxUseless + 1 {
				all = append(all, seal(typeAlert, []byte{1, byte(userCanceled)})...)
			}
			return all
		}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, c.alert, func(m *meeting) []byte { return c.bad(t, m) })
		})
	}
}

// TestTakesWhatIsAllowed receives padding, and as many useless records as there may be.
func TestTakesWhatIsAllowed(t *testing.T) {
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	seal := m.forge(t)
	var sent []byte
	for range 3 {
		for range maxUseless {
			m.receive(seal(typeData, nil))
		}
		m.receive(seal(0, append([]byte("padded\x17"), make([]byte, 1000)...)))
		m.receive(seal(0, append([]byte("\x17"), make([]byte, 1000)...))) // nothing, padded
		full := bytes.Repeat([]byte{7}, maxPlaintext)
		m.receive(seal(typeData, full))
		sent = append(append(sent, "padded"...), full...)
	}
	expect(t, m.ours, sent, 1000)
}

func TestAlertsOfTheClient(t *testing.T) {
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	m.receive(m.forge(t)(typeAlert, []byte{2, byte(internalError)}))
	for range 2 {
		_, err := m.ours.Read(make([]byte, 10))
		if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "remote error" || op.Err != internalError {
			t.Errorf("error %v", err)
		}
	}
	if _, err := m.ours.Write([]byte("x")); !errors.Is(err, internalError) {
		t.Errorf("write to one who has failed: %v", err)
	}
}

// TestCutOff ends the stream without a word, between records and within one.
func TestCutOff(t *testing.T) {
	for _, within := range []int{0, 1, headerSize, headerSize + 3} {
		m := mustMeet(t, serverConfig(), clientConfig(), nil)
		m.receive(m.forge(t)(typeData, []byte("hello"))[:within])
		if _, err := m.ours.Read(make([]byte, 10)); !errors.Is(err, errWait{}) {
			t.Fatalf("%d bytes: %v", within, err)
		}
		m.near.in.end()
		want := io.EOF
		if within > 0 {
			want = io.ErrUnexpectedEOF
		}
		for range 2 {
			if n, err := m.ours.Read(make([]byte, 10)); n != 0 || err != want {
				t.Errorf("cut off behind %d bytes: %d bytes and %v, want %v", within, n, err, want)
			}
		}
	}
}

// TestDataBeforeTheError hands out what came before a record that is refused, also
// to one who reads little at a time.
func TestDataBeforeTheError(t *testing.T) {
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	seal := m.forge(t)
	m.receive(append(append(seal(typeData, []byte("one")), seal(typeData, []byte("two"))...), 0, 0, 0, 0, 0))
	expect(t, m.ours, []byte("onetwo"), 2)
	if _, err := m.ours.Read(make([]byte, 10)); !errors.Is(err, unexpectedMessage) {
		t.Error(err)
	}
}

// TestPartsOfMany receives records of many connections in parts, in turn: what one has
// got is not another's.
func TestPartsOfMany(t *testing.T) {
	var all []*meeting
	var left [][]byte
	for i := range 5 {
		m := mustMeet(t, serverConfig(), clientConfig(), nil)
		all = append(all, m)
		left = append(left, m.forge(t)(typeData, bytes.Repeat([]byte{byte(i)}, 1000)))
	}
	got := make([]int, len(all))
	for p := make([]byte, 600); got[4] < 1000; {
		for i, m := range all {
			n := min(len(left[i]), 100*(i+1))
			m.receive(left[i][:n])
			left[i] = left[i][n:]
			n, err := m.ours.Read(p)
			if n == 0 && !errors.Is(err, errWait{}) || bytes.Count(p[:n], []byte{byte(i)}) != n {
				t.Fatalf("connection %d: %v", i, err)
			}
			got[i] += n
		}
	}
	for i, m := range all[:4] {
		m.receive(left[i])
		expect(t, m.ours, bytes.Repeat([]byte{byte(i)}, 1000-got[i]), 600)
	}
}

// TestRecordsRunOut stops before more is sealed or opened than may be.
func TestRecordsRunOut(t *testing.T) {
	t.Run("sent", func(t *testing.T) {
		m := mustMeet(t, serverConfig(), clientConfig(), nil)
		m.ours.most = m.ours.out.count + 3
		n, err := m.ours.Write(bytes.Repeat([]byte("x"), 4*maxPlaintext))
		if n != 3*maxPlaintext || err != ErrExhausted {
			t.Errorf("wrote %d bytes: %v", n, err)
		}
		expect(t, m.theirs, bytes.Repeat([]byte("x"), n), 10_000)
		isExhausted(t, m)
	})
	t.Run("received", func(t *testing.T) {
		m := mustMeet(t, serverConfig(), clientConfig(), nil)
		m.ours.most = 3
		for range 4 {
			if _, err := m.theirs.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		expect(t, m.ours, []byte("xxx"), 10)
		isExhausted(t, m)
	})
	if MaxRecords != 1<<24 {
		t.Error("the limit is another one")
	}
}

func isExhausted(t *testing.T, m *meeting) {
	t.Helper()
	if _, err := m.ours.Read(make([]byte, 10)); err != ErrExhausted {
		t.Errorf("read: %v", err)
	}
	if _, err := m.ours.Write([]byte("x")); err != ErrExhausted {
		t.Errorf("write: %v", err)
	}
	if _, err := m.theirs.Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("the client reads %v, want a tidy end", err)
	}
}

// TestForgets leaves no keys behind, and nothing that was not read.
func TestForgets(t *testing.T) {
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	if m.handshake.client != (secret{}) || m.handshake.server != (secret{}) {
		t.Error("the handshake keeps secrets")
	}
	if _, err := m.theirs.Write([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	old, in := m.ours, m.ours.in
	if in == (half{}) || m.ours.out == (half{}) {
		t.Fatal("there are no keys")
	}
	m.ours = old.Over(m.near)
	if m.ours.in != in || old.in != (half{}) || old.out != (half{}) {
		t.Error("keys are kept where they are not used")
	}
	expect(t, m.ours, []byte("s"), 1)
	plain := m.ours.rare.plain
	if string(plain) != "ecret" {
		t.Fatalf("%q is kept", plain)
	}
	m.ours.Close()
	if strings.Trim(string(plain), "\x00") != "" || m.ours.in != (half{}) || m.ours.out != (half{}) {
		t.Error("something is kept of a closed connection")
	}
	m.far.in.taken() // the ticket
	for _, c := range []*Conn{old, m.ours} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Errorf("close for writing: %v", err)
		}
	}
	if left := m.far.in.taken(); len(left) > 0 {
		t.Errorf("%d bytes were sent behind the end", len(left))
	}
}

// TestMovesWhatWaits goes on over another connection in the middle of a record that was
// opened, with a whole one and a part of one behind it.
func TestMovesWhatWaits(t *testing.T) {
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	seal := m.forge(t)
	all := append(append(seal(typeData, []byte("first")), seal(typeData, []byte("second"))...), seal(typeData, []byte("third"))...)
	m.receive(all[:len(all)-4])
	expect(t, m.ours, []byte("f"), 1)
	m.ours = m.ours.Over(m.near)
	expect(t, m.ours, []byte("irst"), 2)
	m.ours = m.ours.Over(m.near)
	expect(t, m.ours, []byte("second"), 6)
	if _, err := m.ours.Read(make([]byte, 10)); !errors.Is(err, errWait{}) {
		t.Error(err)
	}
	m.ours = m.ours.Over(m.near)
	m.receive(all[len(all)-4:])
	expect(t, m.ours, []byte("third"), 10)
}

// TestBrokenBelow writes nothing any more once that has failed, for a record may be
// half there.
func TestBrokenBelow(t *testing.T) {
	m := mustMeet(t, serverConfig(), clientConfig(), nil)
	m.far.in.taken() // the ticket
	m.near.broken = io.ErrClosedPipe
	for range 2 {
		if _, err := m.ours.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Error(err)
		}
		m.near.broken = nil
	}
	if left := m.far.in.taken(); len(left) > 0 {
		t.Error("something was written behind an error")
	}
	if n, err := m.ours.Read(nil); n != 0 || err != nil {
		t.Errorf("read into nothing: %v", err)
	}
}
