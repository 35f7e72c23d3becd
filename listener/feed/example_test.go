package feed_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/feed"
)

// What travels of an update.
func ExampleMessage() {
	m := feed.Message{Generation: [16]byte{1}, Number: 12, Update: listener.BlockDevice{Device: 4711}}
	b, err := m.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	back, err := feed.Decode(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d bytes: message %d blocks device %d\n", len(b), back.Number, back.Update.(listener.BlockDevice).Device)
	// Output: 25 bytes: message 12 blocks device 4711
}
