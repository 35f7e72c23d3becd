package engine_test

import (
	"fmt"
	"log"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// All clients, but for one; then one more device becomes a client.
func Example() {
	s := schema.Standard()
	system, _ := s.Class(schema.System)
	client, _ := system.Property("Client")
	record := func(device uint32, is int64) *schema.Record {
		row := make(schema.Row, len(system.Properties))
		row[client] = schema.Value{Set: true, Number: is}
		return &schema.Record{Device: device, Classes: []schema.ClassRows{{Class: system.Index, Rows: []schema.Row{row}}}}
	}
	e := engine.New(s)
	for device, is := range []int64{1, 0, 1} {
		if err := e.Put(record(uint32(device), is)); err != nil {
			log.Fatal(err)
		}
	}
	clients, err := wql.Parse("select * from SMS_R_System where Client = 1", s)
	if err != nil {
		log.Fatal(err)
	}
	if err := e.Define([]engine.Collection{
		{ID: "P0100001", Queries: []*wql.Query{clients}},
		{ID: "P0100002", Direct: roaring.BitmapOf(2)},
		{ID: "P0100003", Limit: "P0100001", Include: []string{"P0100001"}, Exclude: []string{"P0100002"}},
	}); err != nil {
		log.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if _, err := e.Evaluate(engine.Request{Now: now}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.Order(), e.Members("P0100003"))

	if err := e.Put(record(1, 1)); err != nil {
		log.Fatal(err)
	}
	changes, err := e.Evaluate(engine.Request{Devices: roaring.BitmapOf(1), Now: now})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range changes {
		fmt.Println(c.ID, c.Added, c.Members)
	}
	why, err := e.Explain("P0100003", 2, now)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(why.Member, why.Why)
	// Output:
	// [SMS00001 P0100001 P0100002 P0100003] {0}
	// SMS00001 {} 3
	// P0100001 {1} 3
	// P0100002 {} 1
	// P0100003 {1} 2
	// false collection P0100002 is excluded, and the device is in it
}
