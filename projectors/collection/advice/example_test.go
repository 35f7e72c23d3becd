package advice_test

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/advice"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

func Example() {
	const text = `select * from SMS_R_System where Build < "10.2"`
	q, err := wql.Parse(text, schema.Standard())
	if err != nil {
		fmt.Println(err)
		return
	}
	all := advice.Advise(&advice.Input{
		Now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC),
		Collections: []advice.Collection{{
			Collection: event.Collection{ID: "P0100001", Name: "Old", Limit: event.RootCollection, Queries: []event.CollectionQuery{{WQL: text}}},
			Rules:      []advice.Query{{Parsed: q}},
		}},
	})
	for _, a := range all {
		fmt.Println(a.Severity, a.Code, a.Collections[0].Name, "at column", a.Rule.Column)
		fmt.Println(a.What)
		fmt.Println(a.Remedy)
	}
	// Output:
	// warning A303 Old at column 34
	// Query 1: Build < "10.2" compares texts, not numbers.
	// Compare by patterns that know the number of digits.
}
