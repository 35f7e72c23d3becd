package tlsrecord

import (
	"crypto/cipher"
	"crypto/tls"
	"io"
	"testing"
)

const benchSize = 300 // of a record: a task or an answer

// nowhere takes what is written.
type nowhere struct{ end }

func (*nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkSeal writes one record: as it is done, with an AEAD that is kept, and as
// crypto/tls does.
func BenchmarkSeal(b *testing.B) {
	for _, s := range suites {
		name := tls.CipherSuiteName(s.id)
		b.Run(name+"/keys", func(b *testing.B) {
			c, _, _ := receiver(b, suiteIndex(s.id))
			c.raw, c.most = new(nowhere), 1<<31
			data := make([]byte, benchSize)
			b.ReportAllocs()
			for b.Loop() {
				c.Write(data)
			}
		})
		b.Run(name+"/kept", func(b *testing.B) {
			c, _, _ := receiver(b, suiteIndex(s.id))
			a, data, work := aeadOf(b, &c.out, s), make([]byte, benchSize), new(scratch)
			b.ReportAllocs()
			for b.Loop() {
				c.out.seal(a, work, typeData, data)
			}
		})
		b.Run(name+"/crypto-tls", func(b *testing.B) {
			onlySuite(b, s.id)
			m := mustMeet(b, serverConfig(), clientConfig(), nil)
			data := make([]byte, benchSize)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				m.theirs.Write(data)
				if n++; n%1000 == 0 {
					m.near.in.taken()
				}
			}
		})
	}
}

// BenchmarkOpen reads one record.
func BenchmarkOpen(b *testing.B) {
	for _, s := range suites {
		name := tls.CipherSuiteName(s.id)
		b.Run(name+"/keys", func(b *testing.B) {
			c, near, seal := receiver(b, suiteIndex(s.id))
			record, p := seal(typeData, make([]byte, benchSize)), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				near.in.bytes = record
				c.in.count = 77
				if _, err := c.Read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/kept", func(b *testing.B) {
			c, _, seal := receiver(b, suiteIndex(s.id))
			record, work := seal(typeData, make([]byte, benchSize)), new(scratch)
			a := aeadOf(b, &c.in, s)
			b.ReportAllocs()
			for b.Loop() {
				c.in.count = 77
				r := work.buf[:copy(work.buf[:], record)]
				if _, _, bad := c.in.open(a, &work.nonce, r); bad != nil {
					b.Fatal(bad)
				}
			}
		})
		b.Run(name+"/crypto-tls", func(b *testing.B) {
			onlySuite(b, s.id)
			m := mustMeet(b, serverConfig(), clientConfig(), nil)
			data, p := make([]byte, benchSize), make([]byte, 4096)
			b.ReportAllocs()
			const most = 1000
			left := 0
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					for range most {
						m.ours.Write(data)
					}
					left = most
					b.StartTimer()
				}
				left--
				if _, err := io.ReadFull(m.theirs, p[:benchSize]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTakeOver is what a sign-in costs more than with crypto/tls alone.
func BenchmarkTakeOver(b *testing.B) {
	m := mustMeet(b, serverConfig(), clientConfig(), nil)
	state := m.first.ConnectionState()
	place, _ := suiteOf(state.CipherSuite)
	size := suites[place].hash().Size()
	b.ReportAllocs()
	for b.Loop() {
		h := &Handshake{client: secret{n: size}, server: secret{n: size}}
		if _, err := h.takeOver(state); err != nil {
			b.Fatal(err)
		}
	}
}

func suiteIndex(id uint16) int {
	i, _ := suiteOf(id)
	return int(i)
}

func aeadOf(b *testing.B, h *half, s suite) cipher.AEAD {
	a, err := h.aead(&s)
	if err != nil {
		b.Fatal(err)
	}
	return a
}
