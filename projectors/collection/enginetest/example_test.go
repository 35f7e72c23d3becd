package enginetest_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/projectors/collection/enginetest"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

func Example() {
	s := schema.Standard()
	f := enginetest.NewFleet(s)
	name := schema.Row{{Set: true, Text: "PC1"}}
	f.Records[1] = &schema.Record{Device: 1, Classes: []schema.ClassRows{{Class: 0, Rows: []schema.Row{name}}}}
	for _, text := range []string{
		`select * from SMS_R_System where Name like "pc%"`,
		`select * from SMS_R_System where Client != 1`, // it is NULL
	} {
		q, err := wql.Parse(text, s)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(f.Selects(q, 1, enginetest.Epoch))
	}
	// Output:
	// true
	// false
}
