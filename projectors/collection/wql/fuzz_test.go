package wql_test

import (
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// FuzzParse: whatever is taken is printed so that the same tree is read from it, and
// whatever is not has an error with a place in the text.
func FuzzParse(f *testing.F) {
	for _, k := range kinds {
		f.Add(k.query)
	}
	for _, r := range refused {
		f.Add(r.query)
	}
	f.Add(`select s.* from SMS_R_System s left join SMS_G_System_DISK as d on s.ResourceID=d.ResourceID and not (d.Size<-2.5 or d.Name not in ("\\",'''')) where s.SystemOUName like "[^a-f]%" and dateadd(q, 1, s.CreationDate)<>GetDate()`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := wql.Parse(text, schema.Standard())
		if err != nil {
			e := err.(*wql.Error)
			if e.Pos < 0 || int(e.Pos) > len(text) || e.Line < 1 || e.Column < 1 || e.Message == "" || len(e.Message) > 1000 {
				t.Fatalf("%q: %+v", text, e)
			}
			return
		}
		if len(q.String()) <= wql.MaxText {
			again(t, q)
		}
	})
}
