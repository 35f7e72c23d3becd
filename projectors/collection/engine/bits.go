package engine

// transpose turns 64 words of 64 bits around their diagonal: bit j of word i becomes
// bit i of word j.
func transpose(m *[64]uint64) {
	swap := func(step int, mask uint64) {
		for i := 0; i < 64; i = (i + step + 1) &^ step {
			x, y := m[i], m[(i+step)&63]
			t := (x>>uint(step&63) ^ y) & mask
			m[i] = x ^ t<<uint(step&63)
			m[(i+step)&63] = y ^ t
		}
	}
	swap(32, 0x00000000ffffffff)
	swap(16, 0x0000ffff0000ffff)
	swap(8, 0x00ff00ff00ff00ff)
	swap(4, 0x0f0f0f0f0f0f0f0f)
	swap(2, 0x3333333333333333)
	swap(1, 0x5555555555555555)
}

// fewBits is up to how many bits are picked one by one; for more, transposing all 64
// is faster.
const fewBits = 5

// pick collects a bit of each of 64 words.
func pick(m *[64]uint64, bit uint8) (word uint64) {
	for i := range m {
		word |= m[i] >> (bit & 63) & 1 << i
	}
	return word
}
