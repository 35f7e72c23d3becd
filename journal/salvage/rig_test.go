package salvage_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/salvage"
	"github.com/bugle-fleet/bugle/journal/tree"
)

var now = time.Unix(1_800_000_000, 123_000).UTC()

// A result is a journal that was salvaged: its records by number, from 1.
type result struct {
	report  salvage.Report
	pages   []*journal.Page
	records []*journal.Record
	end     []*event.JournalSalvaged
}

// run salvages a folder into memory, and checks that the new journal holds
// together.
func run(f *offlinetest.Folder, trust offline.Trust, to string) (*result, error) {
	r := new(result)
	var err error
	var head journal.Head
	var accepted int64
	var history [16]byte
	write := func(_ context.Context, dir string, h [16]byte, pages iter.Seq2[[]byte, error]) error {
		history = h
		for raw, err := range pages {
			if err != nil {
				return err
			}
			p, err := journal.ParsePage(raw, head)
			if err != nil {
				return err
			}
			head = head.Next(p)
			r.pages = append(r.pages, p)
			for i := range p.Records {
				if p.Records[i].Accepted <= accepted {
					return fmt.Errorf("event %d was accepted before the one before it", p.Records[i].Number)
				}
				accepted = p.Records[i].Accepted
				r.records = append(r.records, &p.Records[i])
			}
		}
		return nil
	}
	r.report, err = salvage.Run(context.Background(), salvage.Options{Dir: f.Dir, To: to, Trust: trust, Write: write, Now: func() time.Time { return now }})
	if err != nil {
		return nil, err
	}
	if history != r.report.New || history == f.History || r.report.Old != f.History {
		return nil, fmt.Errorf("journal %x of %x became %x", r.report.Old, f.History, r.report.New)
	}
	for len(r.records) > 0 && r.records[len(r.records)-1].Kind() == event.KindJournalSalvaged {
		e, err := r.records[len(r.records)-1].Event()
		if err != nil {
			return nil, err
		}
		r.end = append(r.end, e.Payload.(*event.JournalSalvaged))
		r.records = r.records[:len(r.records)-1]
	}
	return r, nil
}

// records are the events of the journal as it was.
func records(t testing.TB, f *offlinetest.Folder) (all []*journal.Record) {
	t.Helper()
	for i, raw := range f.Pages {
		p, err := journal.ParsePage(raw, f.Heads[i])
		if err != nil {
			t.Fatal(err)
		}
		for k := range p.Records {
			all = append(all, &p.Records[k])
		}
	}
	return all
}

// compare checks that every event that is not lost is as it was, and that exactly
// these are lost.
func (r *result) compare(was []*journal.Record, lost []event.Range, f *offlinetest.Folder) error {
	var got []event.Range
	for i, now := range r.records {
		n := uint64(i + 1)
		if now.Kind() == event.KindEventLost {
			e, err := now.Event()
			if err != nil {
				return err
			}
			if p := e.Payload.(*event.EventLost); p.History != f.History || p.Reason == "" {
				return fmt.Errorf("event %d: %+v", n, p)
			}
			if k := len(got); k > 0 && got[k-1].To+1 == n {
				got[k-1].To = n
			} else {
				got = append(got, event.Range{From: n, To: n})
			}
			continue
		}
		if i >= len(was) {
			return fmt.Errorf("event %d is new", n)
		}
		if now.Number != n || now.Accepted != was[i].Accepted || !bytes.Equal(now.Body, was[i].Body) {
			return fmt.Errorf("event %d is not what it was", n)
		}
	}
	if len(r.records) != len(was) {
		return fmt.Errorf("%d events, there were %d", len(r.records), len(was))
	}
	if want := joined(lost); !slices.Equal(got, want) {
		return fmt.Errorf("lost %v, want %v", got, want)
	}
	return r.tells(got, uint64(len(was)))
}

// tells checks that report and last event say what is lost.
func (r *result) tells(lost []event.Range, last uint64) error {
	var told []event.Range
	for _, l := range r.report.Lost {
		told = append(told, event.Range{From: l.From, To: l.To})
		if l.Reason == "" {
			return fmt.Errorf("no reason for %+v", l)
		}
	}
	if !slices.Equal(joined(told), lost) {
		return fmt.Errorf("the report says %v", told)
	}
	if len(r.end) != 1 || !slices.Equal(r.end[0].Lost, lost) || r.end[0].Last != last || r.report.Last != last {
		return fmt.Errorf("the last event says %+v", r.end)
	}
	count := uint64(0)
	for _, l := range lost {
		count += l.To - l.From + 1
	}
	if r.report.Events != last-count || r.report.Vouched > r.report.Events {
		return fmt.Errorf("%d events copied, %d vouched for, of %d", r.report.Events, r.report.Vouched, last)
	}
	return nil
}

// joined is ranges in order without seams.
func joined(all []event.Range) (out []event.Range) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b event.Range) int { return int(int64(a.From) - int64(b.From)) })
	for _, r := range all {
		if n := len(out); n > 0 && r.From <= out[n-1].To+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// without is what of the ranges no archive has.
func without(all []event.Range, list generation.List) (out []event.Range) {
	for _, r := range all {
		for _, g := range list {
			if to := g.End.Event; g.Archive != "" && r.From <= to && r.To > g.Before.Event {
				if r.From <= g.Before.Event {
					out = append(out, event.Range{From: r.From, To: g.Before.Event})
				}
				r.From = to + 1
			}
		}
		if r.From <= r.To {
			out = append(out, r)
		}
	}
	return out
}

func trust(t testing.TB, f *offlinetest.Folder) offline.Trust {
	return offline.Trust{Key: f.Public(), Checkpoints: []tree.Checkpoint{f.Signed(t)}}
}
