package wire_test

import (
	"bufio"
	"bytes"
	"fmt"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An agent says that it lives; the listener reads it.
func Example() {
	frame, err := wire.Append(nil, &wire.KeepAlive{})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, _, err := wire.ReadFrom(bufio.NewReader(bytes.NewReader(frame)), nil)
	fmt.Println(m.Type(), len(frame), err)
	// Output: keep-alive 25 <nil>
}

func ExampleParseToken() {
	_, err := wire.ParseToken("bugle1.0123456789abcdef")
	fmt.Println(err)
	// Output: not a join token: it looks like bugle1.ID.SECRET.HASH
}

func ExampleIdentity_URI() {
	id, _ := task.ParseID("01936f5e-8a6b-7c1d-9e2f-0123456789ab")
	fmt.Println(wire.Identity{Site: "P01", Device: 7, ID: id}.URI())
	// Output: bugle://P01/device/7/01936f5e-8a6b-7c1d-9e2f-0123456789ab
}

func ExampleCloseCode_Stop() {
	fmt.Println(wire.GoingAway, wire.GoingAway.Stop())
	fmt.Println(wire.Blocked, wire.Blocked.Stop())
	// Output:
	// going-away false
	// blocked true
}
