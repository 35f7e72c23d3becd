package definitions_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A document is read, planned, and carried out by its events.
func Example() {
	defined := definitions.New("P01")
	doc, _, err := definitions.Parse([]byte(`
collections:
- name: Pilot
  limit: Laptops
  incremental: true
- name: Laptops
  queries: [select * from SMS_R_System where Name like 'NB%']
`))
	if err != nil {
		panic(err)
	}
	for range 2 {
		plan, err := defined.Now().Plan(&definitions.Request{Document: *doc})
		if err != nil {
			panic(err)
		}
		for _, s := range plan.Steps {
			fmt.Println(s.Action, s.Name, s.ID)
		}
		for _, p := range plan.Events() {
			defined.Apply(&event.Event{Number: defined.Version() + 1, Payload: p})
		}
	}
	_, err = defined.Now().Plan(&definitions.Request{Delete: []string{"laptops"}})
	fmt.Println(err)
	// Output:
	// create Laptops P0100002
	// create Pilot P0100001
	// keep Laptops P0100002
	// keep Pilot P0100001
	// delete[0]: collection "Laptops" is needed: "Pilot" is limited by it
}
