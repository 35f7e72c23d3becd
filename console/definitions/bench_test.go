package definitions_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/console/definitions"
)

// Planning a thousand collections with a query each, new ones and such as are there.
func BenchmarkPlan(b *testing.B) {
	doc := definitions.Document{}
	for i := range 1000 {
		c := definitions.Collection{Name: fmt.Sprintf("collection %d", i), Queries: []definitions.Query{{WQL: fmt.Sprintf("select * from SMS_R_System where Name like 'pc-%d%%' and Client = 1", i)}}}
		if i > 0 {
			c.Limit = fmt.Sprintf("collection %d", (i-1)/2)
		}
		doc.Collections = append(doc.Collections, c)
	}
	s := newSite(b)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Now().Plan(&definitions.Request{Document: doc}); err != nil {
				b.Fatal(err)
			}
		}
	})
	plan, err := s.Now().Plan(&definitions.Request{Document: doc})
	if err != nil {
		b.Fatal(err)
	}
	s.tell(plan.Events()...)
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Now().Plan(&definitions.Request{Document: doc}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		text := definitions.Print(&doc)
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, _, err := definitions.Parse(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
