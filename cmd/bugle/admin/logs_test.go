package admin

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

func TestLogsAreFetched(t *testing.T) {
	body := strings.Repeat("logs", 1000)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
	announced := sum
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathOperationLogs: answer(console.LogList{Items: []console.LogFile{{Device: 1, Name: "pc-0001", Bytes: 4000, SHA256: sum, At: at("10:00:00")}}}),
		"GET " + console.PathOperationLog: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(console.HeaderSHA256, announced)
			fmt.Fprint(w, body)
		},
	})
	if r := (run{}).on(s, "ops", "logs", opID); r.code != 0 || !strings.Contains(r.stdout, "pc-0001") {
		t.Errorf("%+v", r)
	}
	file := filepath.Join(t.TempDir(), "x.tar.gz")
	if r := (run{}).on(s, "ops", "logs", opID, "--device", "pc-0001", "--file", file); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if r := (run{}).on(s, "ops", "logs", opID, "--device", "pc-0001", "--file", file); r.code != 1 || !strings.Contains(r.err.Error(), "--force") {
		t.Errorf("%+v", r)
	}
	announced = strings.Repeat("0", 64)
	if r := (run{}).on(s, "ops", "logs", opID, "--device", "pc-0001", "--file", file+"2"); r.code != 1 || !strings.Contains(r.err.Error(), sum) {
		t.Errorf("%+v", r)
	}
	if left, _ := filepath.Glob(file + "2*"); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	if r := (run{}).on(s, "ops", "logs", opID, "--file", file); r.code != 2 {
		t.Errorf("%+v", r)
	}
	if got := logName("id", "../a b"); got != "id-___a_b.tar.gz" {
		t.Errorf("%s", got)
	}
}

func TestKindsAreShown(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathKinds: answer(console.KindList{Items: []console.KindInfo{
		{Kind: "restart", Class: "barrier", Contract: "channel", Parameters: []string{"message"}, Schema: map[string]any{"type": "object"}, DeliverBySeconds: 3600, RunTimeoutSeconds: 300, Priority: 2}}})})
	if r := (run{}).on(s, "kinds"); r.code != 0 || !strings.Contains(r.stdout, "restart") || !strings.Contains(r.stdout, "barrier") {
		t.Errorf("%+v", r)
	}
	if r := (run{}).on(s, "kinds", "restart"); r.code != 0 || !strings.Contains(r.stdout, `"type": "object"`) {
		t.Errorf("%+v", r)
	}
	if r := (run{}).on(s, "kinds", "none"); r.code != 1 {
		t.Errorf("%+v", r)
	}
}
