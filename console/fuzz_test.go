package console_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
)

// FuzzPush: whatever a push says, the answer is JSON, the server does not fail,
// and there is an event only if it was taken.
func FuzzPush(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"scan.quick","all":true}`, `{"kind":"scan.quick","devices":["1","pc-1"],"params":{"sha256":["` + digest + `"]}}`,
		`{"kind":"policy.machine","devices":["1"],"deliverBySeconds":-9223372036854775808}`, `{"kind":"scan.quick","all":true,"deliverBy":"9999-12-31T23:59:59Z"}`,
		`{"kind":"scan.quick","all":true,"notBefore":"0000-01-01T00:00:00Z","runTimeoutSeconds":1}`, `[]`, `null`, `{"params":{"":{}}}`,
	} {
		f.Add(seed)
	}
	r := newRig(f)
	r.join("pc-1", "pc-2")
	f.Fuzz(func(t *testing.T, body string) {
		before := r.journal.Head().Event
		q := httptest.NewRequest("POST", console.PathOperations, strings.NewReader(body))
		q.Header.Set("Authorization", "Bearer "+r.token)
		q.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		r.console.Handler().ServeHTTP(w, q)
		if !json.Valid(w.Body.Bytes()) || w.Code >= 500 {
			t.Fatalf("answer %d %s", w.Code, w.Body)
		}
		if taken := r.journal.Head().Event - before; (w.Code == 200) != (taken == 1) && !strings.Contains(body, "dryRun") && !strings.Contains(strings.ToLower(body), "dryrun") {
			t.Fatalf("answer %d, %d events", w.Code, taken)
		}
	})
}

// FuzzEventJSON: every event that can be read can be shown.
func FuzzEventJSON(f *testing.F) {
	for _, p := range []event.Payload{
		&event.DeviceJoined{Device: 1, Name: "n"}, &event.OperationRequested{Task: []byte("t")}, &event.PolicyChanged{Body: []byte("{}")}, &event.FileRequeued{Name: "n"},
	} {
		raw, err := (&event.Event{Payload: p}).Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := event.Decode(raw)
		if err != nil {
			return
		}
		if _, err := json.Marshal(console.ShowEvent(e)); err != nil {
			t.Errorf("%s: %v", e.Kind(), err)
		}
	})
}
