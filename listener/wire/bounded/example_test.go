package bounded_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// A record is an array that begins with its version. It is scanned as a whole,
// then read field by field, each within its own bounds.
func Example() {
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(3)
		w.Uint(1)
		w.String("ws-17", 64)
		w.Uint(70_001)
	})
	fmt.Printf("%x %v\n", b, err)

	err = bounded.Decode(b, bounded.Limits{Bytes: 1024}, func(r *bounded.Reader) error {
		r.Version(1)
		fmt.Println(r.String(64), r.Uint32())
		r.End()
		return nil
	})
	fmt.Println(err)

	fmt.Println(bounded.Scan([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, bounded.Limits{}))
	// Output:
	// 9301a577732d3137ce00011171 <nil>
	// ws-17 70001
	// <nil>
	// malformed msgpack at byte 0: array is longer than what is left
}
