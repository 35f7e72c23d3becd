package advice_test

import (
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/advice"
	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// FuzzAdvise looks for advice about any query and schedule: what is proposed can be
// read.
func FuzzAdvise(f *testing.F) {
	f.Add(arp+name+` not like "%a_b%" or not (Version >= "10.2" and Client = 1)`, "0 4 * * *")
	f.Add(`select * from SMS_R_System where SystemOUName not in ("a") and Name = "a" and Name = "b"`, "*/15 1-5 * * mon")
	f.Add(`select Name from SMS_R_System where Client < 2.5`, "0091200000100008")
	f.Fuzz(func(t *testing.T, text, due string) {
		all := many(advice.SameMinute+1, due)
		all = append(all, broken(text))
		for _, a := range advice.Advise(site(all...)) {
			if a.Rule != nil && a.Rule.Corrected != "" {
				if _, err := wql.Parse(a.Rule.Corrected, schema.Standard()); err != nil {
					t.Fatalf("%s of %q: %s: %v", a.Code, text, a.Rule.Corrected, err)
				}
			}
			if a.Code != "A101" {
				continue
			}
			for _, command := range a.Commands {
				_, proposed, _ := strings.Cut(command, "--schedule ")
				if _, err := schedule.Parse(strings.Trim(proposed, "'")); err != nil {
					t.Fatalf("%q becomes %v", due, err)
				}
			}
		}
	})
}
