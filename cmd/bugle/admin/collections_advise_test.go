package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

var advised = console.AdviceList{More: 7, Unasked: 2, Event: 50, Items: []console.Advice{
	{Code: "A301", Severity: "warning", Collections: []console.CollectionRef{{ID: "P0100003", Name: "=No Chrome"}},
		Advice:   `Query 2 ("by name"): DisplayName not like "%Chrome%" is true of devices that have some other row of SMS_G_System_ADD_REMOVE_PROGRAMS.`,
		Why:      "One row is enough.",
		Remedy:   "Ask for devices that have no such row, with not in.",
		Commands: []string{`bugle collections add-rule P0100003 --query 'select * from SMS_R_System' --query-name 'by name'`},
		Query:    &console.AdviceQuery{Number: 2, Name: "by name", Line: 3, Column: 17, Corrected: "select * from SMS_R_System"}},
	{Code: "A106", Severity: "warning", Collections: []console.CollectionRef{}, Advice: "30 collections are incremental.", Why: "Cycles overrun.", Remedy: "Turn it off."},
	{Code: "A101", Severity: "note", Collections: []console.CollectionRef{{ID: "P0100001", Name: "B\u00fcro\x1b[31m"}, {ID: "P0100002", Name: "Servers"}, {ID: "P0100004", Name: "Kiosks"}, {ID: "P0100005"}},
		Advice: "4 collections are due in the same minute.", Why: "They wait.", Remedy: "Stagger them.",
		Commands: []string{"bugle collections set P0100002 --schedule '5 4 * * *'", "bugle collections set P0100004 --schedule '10 4 * * *'"}},
}}

func adviceSite(t *testing.T, l console.AdviceList) *fakeSite {
	return newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathAdvice: answer(l)})
}

func TestAdviceInEveryFormat(t *testing.T) {
	var all strings.Builder
	for _, args := range [][]string{{}, {"--details"}, {"=No Chrome", "Servers", "--at", "17"}, {"--severity", "warning"}} {
		for _, format := range append(formats, "quiet") {
			if len(args) > 0 && format != "table" && format != "quiet" {
				continue // as without
			}
			s := adviceSite(t, advised)
			call := append([]string{"collections", "advise"}, args...)
			if format == "quiet" {
				call = append(call, "--quiet")
			} else {
				call = append(call, "-o", format)
			}
			fmt.Fprintf(&all, "$ bugle %q\n", call)
			text := run{}.on(s, call...).text(s)
			fmt.Fprintf(&all, "%s\n%s\n", strings.Join(s.called(), "\n"), text)
		}
	}
	golden(t, "collections-advise", all.String())
}

func TestNoAdvice(t *testing.T) {
	for args, want := range map[string]string{"": "There is no advice.\n", "Laptops": "There is no advice.\n", "--quiet": "", "-o json": "[]\n"} {
		s := adviceSite(t, console.AdviceList{Items: []console.Advice{}})
		if r := (run{}).on(s, strings.Fields("collections advise "+args)...); r.code != 0 || r.stdout != want {
			t.Errorf("%s: code %d, %q", args, r.code, r.stdout)
		}
	}
}

func TestAdviceWrongCalls(t *testing.T) {
	for args, want := range map[string]string{"--severity error": "none of warning, note", "--at never": "--at"} {
		s := adviceSite(t, advised)
		r := run{}.on(s, strings.Fields("collections advise "+args)...)
		if r.code != codeUsage || !strings.Contains(fmt.Sprint(r.err), want) || len(s.called()) > 0 {
			t.Errorf("%s: code %d, %v, called %q", args, r.code, r.err, s.called())
		}
	}
}
