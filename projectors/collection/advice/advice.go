package advice

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// An Input is all that advice is made from. Nobody changes what it holds.
type Input struct {
	Now         time.Time
	Collections []Collection    // all but the root, in any order
	Devices     *roaring.Bitmap // the members of the root; nil if nobody knows them
	Windows     []Window        // of collections
	Work        []Work          // that waits for windows
	Cycles      []Cycle         // the last incremental ones, in any order
	Interval    time.Duration   // within which an incremental cycle should end; 0 for [Interval]

	// Name returns what texts call a device; nil: its number.
	Name func(device uint32) string
	// Absent are texts that no device has, of those that [Texts] returns.
	Absent map[Text]bool
}

// A Collection is the definition of one, and what became of it.
type Collection struct {
	event.Collection                 // Direct in it is not looked at
	DirectMembers    *roaring.Bitmap // as defined, within the limit or not; nil for none
	Rules            []Query         // for each of Queries
	Members          *roaring.Bitmap // nil for none
	Evaluated        bool            // it was at least once
	Took             time.Duration   // by its last incremental evaluation, alone; 0: not known
	FullCycle        time.Duration   // how long the last cycle took that evaluated it on schedule; 0: not known
	Broken           error           // why the evaluator cannot evaluate it, if it says so
	Uses             []string        // what it is used for beside windows and other collections, in words
}

// A Query is a query rule.
type Query struct {
	Parsed   *wql.Query      // nil if Err is set
	Err      error           // why it cannot be evaluated
	Selected *roaring.Bitmap // what it selects, in the limit or not; nil: nobody knows
}

// A Window is a maintenance window of a collection.
type Window struct {
	Collection string
	window.Window
}

// A Work is a task that waits for windows.
type Work struct {
	What    string // such as: operation 42 (update.install)
	Kind    window.Kind
	Run     time.Duration // its longest run time
	Devices *roaring.Bitmap
}

// A Cycle is an incremental one.
type Cycle struct {
	Took        time.Duration
	Collections int // that were evaluated
}

// A Severity says how much advice matters.
type Severity uint8

// The severities.
const (
	Note    Severity = iota + 1 // something could be better
	Warning                     // something does not do what it seems to
)

// String returns "note" or "warning".
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	}
	return "?"
}

// An Advice is one thing that is worth a second look.
type Advice struct {
	Code        string
	Severity    Severity
	Collections []Ref  // the one that it is about first; none if it is about all
	What        string // what there is, a sentence
	Why         string // why it matters, a sentence
	Remedy      string // what to do, a sentence
	Commands    []string
	Rule        *Rule // the query that it is about, of the first collection
}

// A Ref names a collection.
type Ref struct{ ID, Name string }

// A Rule is a place in a query rule.
type Rule struct {
	Number       int    // of the rule, from 1
	Name         string // of the rule, mostly empty
	Line, Column int    // from 1, in characters
	Corrected    string // the whole query as it was probably meant; empty if nothing is proposed
}

// Advise returns all advice: what matters most first, then by code and by the first
// collection's name. Of one input it is always the same.
func Advise(in *Input) []Advice {
	a := newAdviser(in)
	a.references()
	a.members()
	a.duplicates()
	a.schedules()
	a.incremental()
	a.windows()
	a.queries()
	slices.SortStableFunc(a.found, compare)
	return a.found
}

func compare(a, b Advice) int {
	return cmp.Or(cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Code, b.Code), compareRefs(a.Collections, b.Collections), compareRules(a.Rule, b.Rule), strings.Compare(a.What, b.What))
}

func compareRefs(a, b []Ref) int {
	return slices.CompareFunc(a, b, func(a, b Ref) int {
		return cmp.Or(strings.Compare(wql.Fold(a.Name), wql.Fold(b.Name)), strings.Compare(a.ID, b.ID))
	})
}

func compareRules(a, b *Rule) int {
	if a == nil || b == nil {
		return 0
	}
	return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// An adviser collects advice.
type adviser struct {
	*Input
	graph
	found []Advice
}

func newAdviser(in *Input) *adviser {
	a := &adviser{Input: in}
	a.graph = newGraph(in)
	return a
}

// say adds advice about collections; what, why and remedy are those of its code.
func (a *adviser) say(code string, about []string, what string, args ...any) *Advice {
	k := codes[code]
	refs := make([]Ref, len(about))
	for i, id := range about {
		refs[i] = a.ref(id)
	}
	a.found = append(a.found, Advice{Code: code, Severity: k.severity, Collections: refs, What: fmt.Sprintf(what, args...), Why: k.why, Remedy: k.remedy})
	return &a.found[len(a.found)-1]
}

func (a *adviser) ref(id string) Ref {
	if id == event.RootCollection {
		return Ref{id, rootName}
	}
	if c := a.byID[id]; c != nil {
		return Ref{id, c.Name}
	}
	return Ref{ID: id}
}

// named is how texts name a collection.
func (a *adviser) named(id string) string {
	if r := a.ref(id); r.Name != "" {
		return fmt.Sprintf("%q (%s)", r.Name, id)
	}
	return id
}

// rootName is the name of the collection of all devices.
const rootName = "All Systems"

// most is how many of a number of things a text names.
const most = 5

// several names some things and counts the others.
func several(all []string) string {
	if n := len(all) - most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), n)
	}
	return strings.Join(all, ", ")
}

// counted is "1 device" or "3 devices".
func counted[N ~int | ~uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// argument is a word of a command as a shell takes it.
func argument(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.:/+=", r)
	}
	if s != "" && s[0] != '=' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// command is a line for a shell.
func command(words ...string) string {
	all := []string{"bugle"}
	for _, w := range words {
		all = append(all, argument(w))
	}
	return strings.Join(all, " ")
}

// ended is a text that ends as a sentence does.
func ended(text string) string {
	text = strings.TrimSuffix(text, ".")
	if strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

func decimal[N ~int | ~uint32](n N) string { return strconv.Itoa(int(n)) }
