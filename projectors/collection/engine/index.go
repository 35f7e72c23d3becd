package engine

// An index finds the code of a value by its hash: open addressing with linear
// probing. It knows half of each hash and the code; whoever asks compares values. Code
// 0 is NULL and is in no index, so 0 marks a free place.
type index struct {
	slots []uint64 // hash << 32 | code
	used  int
}

// find returns the code with this hash for which equal holds, or 0.
func (x *index) find(hash uint64, equal func(code uint32) bool) uint32 {
	if len(x.slots) == 0 {
		return 0
	}
	mask := uint64(len(x.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		if s == 0 {
			return 0
		}
		if uint32(s>>32) == uint32(hash) && equal(uint32(s)) {
			return uint32(s)
		}
	}
}

// add takes a code that is not there.
func (x *index) add(hash uint64, code uint32) {
	if (x.used+1)*4 > len(x.slots)*3 {
		old := x.slots
		x.slots = make([]uint64, max(16, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				x.place(s)
			}
		}
	}
	x.place(hash<<32 | uint64(code))
	x.used++
}

func (x *index) place(s uint64) {
	mask := uint64(len(x.slots) - 1)
	i := s >> 32 & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// remove takes out a code that is there, and moves up what was placed behind it.
func (x *index) remove(hash uint64, code uint32) {
	mask := uint64(len(x.slots) - 1)
	i := hash & mask
	for uint32(x.slots[i]) != code {
		i = (i + 1) & mask
	}
	x.used--
	for j := i; ; {
		x.slots[i] = 0
		for {
			j = (j + 1) & mask
			s := x.slots[j]
			if s == 0 {
				return
			}
			// s may move to i unless its own place lies behind i and not behind j.
			if home := s >> 32 & mask; (j-home)&mask >= (j-i)&mask {
				x.slots[i] = s
				i = j
				break
			}
		}
	}
}

// heap is how many bytes it takes.
func (x *index) heap() int { return 8 * len(x.slots) }
