package advice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/advice"
	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
)

// TestStaggered has the times that are proposed.
func TestStaggered(t *testing.T) {
	for _, c := range []struct {
		name  string
		texts []string // each for some collections
		each  int
		want  []string
	}{
		{"daily", []string{"0 4 * * *"}, 11, []string{"5 4 * * *", "10 4 * * *", "15 4 * * *", "20 4 * * *", "25 4 * * *", "30 4 * * *", "35 4 * * *", "40 4 * * *", "45 4 * * *", "50 4 * * *"}},
		{"before midnight", []string{"58 23 * * *"}, 11, []string{"9 23 * * *", "14 23 * * *", "19 23 * * *", "24 23 * * *", "29 23 * * *", "34 23 * * *", "39 23 * * *", "44 23 * * *", "49 23 * * *", "54 23 * * *", "59 23 * * *"}},
		{"hourly", []string{"0 * * * *"}, 12, []string{"5 * * * *", "10 * * * *", "15 * * * *", "20 * * * *", "25 * * * *", "30 * * * *", "35 * * * *", "40 * * * *", "45 * * * *", "50 * * * *", "55 * * * *"}},
		{"steps", []string{"*/30 * * * *"}, 15, []string{"0-59/30 * * * *", "2-59/30 * * * *", "4-59/30 * * * *", "6-59/30 * * * *", "8-59/30 * * * *", "10-59/30 * * * *", "12-59/30 * * * *", "14-59/30 * * * *", "16-59/30 * * * *", "18-59/30 * * * *", "20-59/30 * * * *", "22-59/30 * * * *", "24-59/30 * * * *", "26-59/30 * * * *", "28-59/30 * * * *"}},
		{"alone", []string{"0,30 4 * * *"}, 11, nil},
		{"tokens", []string{"0091200000100008"}, 11, []string{"1491200000100008", "2891200000100008", "3C91200000100008", "5091200000100008", "6491200000100008", "7891200000100008", "8C91200000100008", "A091200000100008", "B491200000100008", "C891200000100008"}},
	} {
		var all []advice.Collection
		for i := range c.each {
			all = append(all, scheduled(fmt.Sprintf("C%02d", i), c.texts[0], nil))
		}
		found := said(site(all...), "A101")
		if len(found) != 1 {
			t.Errorf("%s: said %d times", c.name, len(found))
			continue
		}
		var got []string
		for _, command := range found[0].Commands {
			_, text, _ := strings.Cut(command, "--schedule ")
			got = append(got, strings.Trim(text, "'"))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q\nwant %q", c.name, got, c.want)
		}
		if stays := strings.Contains(found[0].Remedy, "no time is proposed"); stays != (c.want == nil) {
			t.Errorf("%s: %s", c.name, found[0].Remedy)
		}
	}
}

// TestStaggeredDoNotMeet takes the proposals over: then no minute has as many as
// before, and limiting collections come first.
func TestStaggeredDoNotMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(advice.SameMinute+1, 100).Draw(t, "collections")
		text := rapid.SampledFrom([]string{"0 4 * * *", "59 23 * * *", "0 0 * * sun", "30 12 1 * *", "0091200000100008"}).Draw(t, "schedule")
		id := func(i int) string { return fmt.Sprintf("C%02d", 99-i) } // names say nothing
		var all []advice.Collection
		for i := range n {
			change := limitedTo("SMS00001")
			if i > 0 {
				change = limitedTo(id(rapid.IntRange(0, i-1).Draw(t, "limit")))
			}
			all = append(all, scheduled(id(i), text, change))
		}
		found := said(site(all...), "A101")
		if len(found) != 1 {
			t.Fatalf("said %d times", len(found))
		}
		proposed := map[string]string{}
		for _, command := range found[0].Commands {
			words := strings.SplitN(command, " ", 6) // bugle collections set ID --schedule TEXT
			proposed[words[3]] = strings.Trim(words[5], "'")
		}
		due, at := map[time.Time]int{}, map[string]time.Time{}
		for _, c := range all {
			s, err := schedule.Parse(text)
			if p := proposed[c.ID]; p != "" {
				s, err = schedule.Parse(p)
			}
			if err != nil {
				t.Fatal(err)
			}
			next, _ := s.Next(now.AddDate(0, 0, 1).Truncate(24 * time.Hour).Add(-1))
			at[c.ID] = next
			if due[next]++; due[next] > 1 {
				t.Fatalf("two are due at %s", next)
			}
		}
		for _, c := range all {
			if limit, ok := at[c.Limit]; ok && limit.After(at[c.ID]) {
				t.Fatalf("%s is due at %s, its limit at %s", c.ID, at[c.ID], limit)
			}
		}
	})
}
