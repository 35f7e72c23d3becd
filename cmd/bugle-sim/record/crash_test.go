package record

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/agent"
)

// threeGroups returns a file of three groups and where each ends.
func threeGroups(t *testing.T) (b []byte, ends []int) {
	t.Helper()
	m := new(memory)
	l := startMemory(m, 0)
	for i := range 3 {
		must(t, l.Agent(uint32(i)).Append(true, entry(i), entry(i+1)))
		ends = append(ends, len(m.b))
	}
	must(t, l.Close())
	return m.b, ends
}

func TestAFileCutAnywhereHoldsTheGroupsBefore(t *testing.T) {
	b, ends := threeGroups(t)
	for cut := range len(b) + 1 {
		c, err := decodeFile("records", b[:cut])
		if err != nil {
			t.Fatalf("read a file cut at byte %d: %v", cut, err)
		}
		for i, end := range ends {
			if got := len(c.devices[uint32(i)]); got != 2*boolInt(cut >= end) {
				t.Errorf("cut at byte %d: device %d has %d entries", cut, i, got)
			}
		}
	}
}

func TestOpenCutsATornGroupOffAndGoesOnBehindIt(t *testing.T) {
	b, ends := threeGroups(t)
	path := filepath.Join(t.TempDir(), "records")
	for _, cut := range []int{0, 5, len(header), ends[0], ends[0] + 1, ends[1] - 1, ends[2] - 1} {
		must(t, os.WriteFile(path, b[:cut], 0o600))
		l := open(t, path)
		must(t, l.Agent(5).Append(true, entry(5)))
		must(t, l.Close())
		l = open(t, path)
		want(t, "what was added behind the cut", load(t, l.Agent(5)), entry(5))
		if got := len(load(t, l.Agent(0))); got != 2*boolInt(cut >= ends[0]) {
			t.Errorf("cut at byte %d: device 0 has %d entries", cut, got)
		}
		must(t, l.Close())
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestATornGroupOfWhichOnlyTheEndIsOnDiskIsCutOff(t *testing.T) {
	b, ends := threeGroups(t)
	for hole := ends[1]; hole < len(b); hole++ {
		torn := bytes.Clone(b)
		clear(torn[ends[1] : hole+1])
		c, err := decodeFile("records", torn)
		must(t, err)
		if c.good != ends[1] || len(c.devices) != 2 {
			t.Fatalf("hole up to byte %d: %d bytes are good with %d devices, want %d and 2", hole, c.good, len(c.devices), ends[1])
		}
	}
}

func TestDamageWithGoodGroupsBehindIsAnError(t *testing.T) {
	b, ends := threeGroups(t)
	for at := len(header); at < ends[1]; at++ {
		bad := bytes.Clone(b)
		bad[at] ^= 0x10
		_, err := decodeFile("records", bad)
		var damaged *DamagedError
		if !errors.As(err, &damaged) {
			t.Fatalf("byte %d flipped: %v, want a DamagedError", at, err)
		}
		start := len(header)
		if at >= ends[0] {
			start = ends[0]
		}
		if damaged.Offset != int64(start) {
			t.Errorf("byte %d flipped: damaged at %d, want %d", at, damaged.Offset, start)
		}
	}
}

func TestAGroupThatIsWholeAndCannotBeReadIsDamage(t *testing.T) {
	b := append([]byte(header), make([]byte, groupHeader)...)
	b = append(b, 0, 0, 0, 2, 0x91, 0x05) // a record of a later version
	sealGroup(b[len(header):])
	var damaged *DamagedError
	if _, err := decodeFile("records", b); !errors.As(err, &damaged) || damaged.Cause == nil {
		t.Errorf("decode: %v, want a DamagedError with a cause", err)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	for _, content := range []string{"bugle record 1\n", "hello", "bugle-sim records 2\n"} {
		must(t, os.WriteFile(path, []byte(content), 0o600))
		if _, err := Open(path, 0); err == nil {
			t.Errorf("a file that begins with %q was opened", content)
		}
		if b, _ := os.ReadFile(path); string(b) != content {
			t.Errorf("a file that begins with %q was changed", content)
		}
	}
}

// state is what every device has after a number of calls.
type state map[uint32][]agent.Entry

func (s state) after(c *change) state {
	next := make(state, len(s)+1)
	for device, entries := range s {
		next[device] = entries
	}
	var before []agent.Entry
	if c.action == add {
		before = s[c.device]
	}
	delete(next, c.device)
	if all := append(before[:len(before):len(before)], c.entries...); len(all) > 0 {
		next[c.device] = all
	}
	return next
}

// TestACrashLosesNothingThatWasAcknowledged makes calls, lets the disk fail at
// one of them with any part of the group written, and reads what is there: it is
// what was true after some call, and not before the last acknowledged one.
func TestACrashLosesNothingThatWasAcknowledged(t *testing.T) {
	crashed := errors.New("power cut")
	rapid.Check(t, func(t *rapid.T) {
		m := new(memory)
		l := startMemory(m, 0)
		states, acked := []state{{}}, 0
		last := rapid.IntRange(0, 30).Draw(t, "calls")
		for i := range last + 1 {
			c := &change{rapid.Uint32Range(1, 4).Draw(t, "device"), add, drawEntries(t)}
			durable := rapid.Bool().Draw(t, "durable")
			if rapid.IntRange(0, 4).Draw(t, "rewrite") == 0 {
				c.action, durable = replace, true
			}
			if i == last {
				durable = true
				m.hook = func() error { return crashed }
			}
			states = append(states, states[len(states)-1].after(c))
			err := call(l, c, durable)
			switch {
			case i == last && !errors.Is(err, crashed):
				t.Fatalf("call %d at the crash: %v", i, err)
			case i < last && err != nil:
				t.Fatalf("call %d: %v", i, err)
			case i < last && durable:
				acked = len(states) - 1
			}
		}
		l.Close()
		checkAfterCrash(t, crash(t, m), states, acked)
	})
}

func call(l *Log, c *change, durable bool) error {
	if c.action == replace {
		return l.Agent(c.device).Rewrite(c.entries)
	}
	return l.Agent(c.device).Append(durable, c.entries...)
}

func drawEntries(t *rapid.T) (all []agent.Entry) {
	for range rapid.IntRange(0, 3).Draw(t, "entries") {
		all = append(all, entry(rapid.IntRange(0, 500).Draw(t, "entry")))
	}
	return all
}

// crash returns the synced bytes and any part of those behind.
func crash(t *rapid.T, m *memory) []byte {
	b := bytes.Clone(m.b)
	tail := b[m.synced:]
	if len(tail) == 0 {
		return b
	}
	hole := rapid.IntRange(0, len(tail)).Draw(t, "hole")
	end := rapid.IntRange(hole, len(tail)).Draw(t, "end of hole")
	clear(tail[hole:end])
	return b[:m.synced+rapid.IntRange(0, len(tail)).Draw(t, "written")]
}

func checkAfterCrash(t *rapid.T, b []byte, states []state, acked int) {
	c, err := decodeFile("records", b)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states[acked:] {
		if cmp.Equal(map[uint32][]agent.Entry(s), c.devices) {
			return
		}
	}
	t.Fatalf("after the crash devices have %v, which is true after none of the calls from %d on: %v", c.devices, acked, states[acked:])
}
