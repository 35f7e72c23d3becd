package task_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func targets(t testing.TB, numbers ...uint32) *task.Targets {
	t.Helper()
	s, err := task.NewTargets(slices.Values(numbers))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// about is a task for the given targets.
func about(s *task.Targets) *task.Task { return &task.Task{Root: s.Root(), Leaves: s.Leaves()} }

// Every member has a proof that is its own; nobody else has one, and cannot use
// another's.
func TestProofs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]uint32{300, 5000, 100_000}).Draw(rt, "limit")
		numbers := rapid.SliceOfNDistinct(rapid.Uint32Range(1, limit), 1, 60, rapid.ID[uint32]).Draw(rt, "numbers")
		s := targets(t, numbers...)
		tk := about(s)
		for _, n := range numbers {
			p, ok := s.Prove(n)
			if !ok {
				rt.Fatalf("no proof for member %d", n)
			}
			if err := p.Verify(tk, n); err != nil {
				rt.Fatalf("proof of member %d: %v", n, err)
			}
			stranger := rapid.Uint32Range(1, limit).Draw(rt, "stranger")
			if slices.Contains(numbers, stranger) {
				continue
			}
			if _, ok := s.Prove(stranger); ok || s.Has(stranger) {
				rt.Fatalf("%d is no member and has a proof", stranger)
			}
			if err := p.Verify(tk, stranger); !errors.Is(err, task.ErrRefused) {
				rt.Fatalf("the proof of %d serves %d: %v", n, stranger, err)
			}
		}
		slices.Sort(numbers)
		if got := slices.Collect(s.All()); !slices.Equal(got, numbers) {
			rt.Fatalf("members %d, want %d", got, numbers)
		}
	})
}

// A bit that somebody sets in a leaf, a hash that is changed, added or missing,
// a tree of another size: no proof survives it.
func TestForgedProofs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Uint32Range(1, 20_000), 1, 60).Draw(rt, "numbers")
		s := targets(t, numbers...)
		n := rapid.SampledFrom(numbers).Draw(rt, "member")
		p, _ := s.Prove(n)
		tk := about(s)
		device := n
		switch forgery := rapid.IntRange(0, 5).Draw(rt, "forgery"); {
		case forgery == 0:
			device = n - n%256 + rapid.Uint32Range(0, 255).Draw(rt, "neighbour")
			if s.Has(device) {
				return
			}
			p.Bits[device%256/8] |= 1 << (device % 8)
		case forgery == 1 && len(p.Path) > 0:
			i := rapid.IntRange(0, len(p.Path)-1).Draw(rt, "hash")
			p.Path[i][rapid.IntRange(0, 31).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		case forgery == 2 && len(p.Path) > 0:
			p.Path = p.Path[1:]
		case forgery == 3:
			p.Path = append(p.Path, [32]byte{1})
		case forgery == 4:
			device = n + 256*rapid.Uint32Range(1, 50).Draw(rt, "leaf")
			if s.Has(device) {
				return
			}
		default:
			tk.Root[0] ^= 1
		}
		if err := p.Verify(tk, device); !errors.Is(err, task.ErrRefused) {
			rt.Fatalf("a forged proof for device %d: %v", device, err)
		}
	})
}

// What a proof costs on the wire.
func TestProofSize(t *testing.T) {
	s, err := task.NewTargets(func(yield func(uint32) bool) {
		for n := uint32(1); n <= 100_000 && yield(n); n++ {
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	tk := about(s)
	longest := 0
	for n := uint32(1); n <= 100_000; n += 251 {
		p, ok := s.Prove(n)
		if !ok || p.Verify(tk, n) != nil {
			t.Fatalf("device %d has no proof", n)
		}
		longest = max(longest, len(p.Append(nil)))
	}
	t.Logf("the longest proof for 100,000 devices is %d bytes", longest)
	if longest > 320 {
		t.Errorf("the longest proof for 100,000 devices is %d bytes, at most 320 are promised", longest)
	}
	last := targets(t, task.MaxDevice)
	p, ok := last.Prove(task.MaxDevice)
	if !ok || len(p.Path) != task.MaxPath || p.Verify(about(last), task.MaxDevice) != nil {
		t.Errorf("the last device has a path of %d hashes, MaxPath is %d", len(p.Path), task.MaxPath)
	}
}

func TestTargetsRefuse(t *testing.T) {
	for _, n := range []uint32{0, task.MaxDevice + 1, 1<<32 - 1} {
		if s, err := task.NewTargets(slices.Values([]uint32{1, n})); err == nil {
			t.Errorf("device number %d is taken: %d leaves", n, s.Leaves())
		}
	}
	var empty task.Targets
	if empty.Has(0) || empty.Leaves() != 0 || len(slices.Collect(empty.All())) != 0 {
		t.Error("the empty set has members")
	}
	if err := (task.Proof{Bits: [32]byte{0xff}}).Verify(about(&empty), 1); !errors.Is(err, task.ErrRefused) {
		t.Errorf("a proof against the empty set: %v", err)
	}
	for n := range targets(t, 1, 2, 3).All() {
		if n != 1 {
			t.Errorf("the first member is %d", n)
		}
		break
	}
}

func FuzzProof(f *testing.F) {
	s := targets(f, 1, 7, 300, 70_000)
	tk := about(s)
	for n := range s.All() {
		p, _ := s.Prove(n)
		f.Add(p.Append(nil), n)
	}
	f.Add([]byte{}, uint32(0))
	f.Add(make([]byte, 31), uint32(1))
	f.Add(make([]byte, 32*18), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, device uint32) {
		p, err := task.ParseProof(b)
		if err != nil {
			return
		}
		if again := p.Append(nil); string(again) != string(b) {
			t.Errorf("%x became %x", b, again)
		}
		if p.Verify(tk, device) == nil && !s.Has(device) {
			t.Errorf("%d is no target, and has a proof: %x", device, b)
		}
	})
}

func BenchmarkTargets(b *testing.B) {
	numbers := make([]uint32, 100_000)
	for i := range numbers {
		numbers[i] = uint32(i + 1)
	}
	b.Run("root of 100,000", func(b *testing.B) {
		for b.Loop() {
			targets(b, numbers...).Root()
		}
	})
	s := targets(b, numbers...)
	tk := about(s)
	b.Run("prove", func(b *testing.B) {
		for b.Loop() {
			s.Prove(70_000)
		}
	})
	p, _ := s.Prove(70_000)
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if err := p.Verify(tk, 70_000); err != nil {
				b.Fatal(err)
			}
		}
	})
}
