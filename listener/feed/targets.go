package feed

import (
	"encoding/binary"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// encodeTargets writes a set of devices: for every leaf of its tree that is not
// empty, rising, the number of the leaf and its 256 bits. No bytes are nobody.
func encodeTargets(w *bounded.Writer, t *task.Targets) {
	if t == nil {
		w.Bytes(nil, maxTargets)
		return
	}
	var b []byte
	last := int64(-1)
	for n := range t.All() {
		if int64(n/256) != last {
			last = int64(n / 256)
			b = binary.BigEndian.AppendUint32(b, n/256)
			b = append(b, make([]byte, 32)...)
		}
		b[len(b)-32+int(n%256/8)] |= 1 << (n % 8)
	}
	w.Bytes(b, maxTargets)
}

func decodeTargets(r *bounded.Reader) *task.Targets {
	b := r.Bytes(maxTargets)
	if len(b)%leafSize != 0 {
		r.Fail("devices in %d bytes, each leaf has %d", len(b), leafSize)
	}
	if r.Err() != nil || len(b) == 0 {
		return nil
	}
	last := int64(-1)
	for i := 0; i < len(b); i += leafSize {
		leaf := int64(binary.BigEndian.Uint32(b[i:]))
		if leaf <= last || leaf > task.MaxDevice/256 || [32]byte(b[i+4:]) == ([32]byte{}) {
			r.Fail("leaf %d is out of order, too large or empty", leaf)
			return nil
		}
		last = leaf
	}
	t, err := task.NewTargets(func(yield func(uint32) bool) { eachDevice(b, yield) })
	if err != nil {
		r.Fail("%v", err)
		return nil
	}
	return t
}

func eachDevice(b []byte, yield func(uint32) bool) {
	for ; len(b) > 0; b = b[leafSize:] {
		leaf := binary.BigEndian.Uint32(b)
		for n := range uint32(256) {
			if b[4+n/8]&(1<<(n%8)) != 0 && !yield(leaf*256+n) {
				return
			}
		}
	}
}
