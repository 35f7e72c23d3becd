package estate_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/estate"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

func Example() {
	e, err := estate.New(estate.Options{Devices: 1000, Collections: 10, Seed: 1}, schema.Standard())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(estate.Name(1), len(e.Record(1).Classes) > 10)
	d := e.Definitions()[0]
	fmt.Println(d.ID, d.Limit, d.Queries[0].WQL)
	// Output:
	// WKS000001 true
	// P0100014 SMS00001 select * from SMS_R_System where SMS_R_System.Client = 1
}
