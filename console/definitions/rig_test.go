package definitions_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A site is a fold and the events that it was told.
type site struct {
	t testing.TB
	*definitions.Definitions
	events []*event.Event
}

func newSite(t testing.TB) *site { return &site{t: t, Definitions: definitions.New("P01")} }

func (s *site) tell(payloads ...event.Payload) {
	for _, p := range payloads {
		e := &event.Event{Number: uint64(len(s.events) + 1), Payload: p}
		s.events = append(s.events, e)
		s.Apply(e)
	}
}

// parse reads a document that is right.
func (s *site) parse(text string) *definitions.Document {
	s.t.Helper()
	doc, _, err := definitions.Parse([]byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return doc
}

// apply carries out a document and returns what changed, a line a step.
func (s *site) apply(text string, remove ...string) string {
	s.t.Helper()
	plan, err := s.Now().Plan(&definitions.Request{Document: *s.parse(text), Delete: remove})
	if err != nil {
		s.t.Fatalf("%v in\n%s", err, text)
	}
	s.tell(plan.Events()...)
	return steps(plan)
}

// refuse checks that a document is refused, with every word in what is said, and
// returns the errors.
func (s *site) refuse(text string, words ...string) []definitions.Error {
	s.t.Helper()
	return s.refuseAll(&definitions.Request{Document: *s.parse(text)}, words...)
}

func (s *site) refuseAll(r *definitions.Request, words ...string) []definitions.Error {
	s.t.Helper()
	plan, err := s.Now().Plan(r)
	refusal, ok := errors.AsType[*definitions.Refusal](err)
	if !ok {
		s.t.Fatalf("not refused: %+v, %v", plan, err)
	}
	var all []string
	for _, e := range refusal.Errors {
		all = append(all, e.Error())
	}
	said := strings.Join(all, "\n")
	for _, w := range words {
		if !strings.Contains(said, w) {
			s.t.Errorf("says %q, want %q in it", said, w)
		}
	}
	return refusal.Errors
}

func steps(p *definitions.Plan) string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(string(s.Action) + " " + s.Of + " " + s.Name)
		if s.ID != "" {
			b.WriteString(" (" + s.ID + ")")
		}
		b.WriteByte('\n')
		for _, d := range s.Diff {
			b.WriteString("  " + d.String() + "\n")
		}
	}
	return b.String()
}

func (s *site) id(word string) string {
	s.t.Helper()
	d, ok := s.Now().Find(word)
	if !ok {
		s.t.Fatalf("there is no %q", word)
	}
	return d.ID
}
