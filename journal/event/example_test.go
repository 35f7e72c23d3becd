package event_test

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// An event is encoded before it is appended, and decoded when somebody reads it.
func Example() {
	e := &event.Event{
		Observed: time.Unix(1_700_000_000, 0),
		Actor:    event.Actor{Issuer: "token", Subject: "ann"},
		Payload:  &event.DeviceBlocked{Device: 17, Reason: "stolen"},
	}
	b, err := e.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(b), event.KindOf(b))

	got, err := event.Decode(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	if p, ok := got.Payload.(*event.DeviceBlocked); ok {
		fmt.Println(got.Actor.Subject, "blocked device", p.Device, "because it was", p.Reason)
	}
	who, _ := event.AppenderOf(got.Kind())
	fmt.Println("only the", who, "appends this kind")
	// Output:
	// 55 device.blocked
	// ann blocked device 17 because it was stolen
	// only the authority appends this kind
}
