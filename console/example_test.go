package console_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// A console on a journal, and an administrator who asks it for a join token.
func Example() {
	dir, err := os.MkdirTemp("", "bugle-console-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	// Authority, policy and the memory of writes are folds of the journal.
	a, err := authority.Open(filepath.Join(dir, "keys"), "P01")
	if err != nil {
		fmt.Println(err)
		return
	}
	policies, writes := console.NewPolicies(a), console.NewWrites()
	j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{a, policies, writes}})
	defer j.Close()
	a.Attach(j)

	// The views are those of projectors; here, of a test.
	f := newFleet()
	c, err := console.New(console.Config{
		Site: "P01", Version: "0.1.0", Journal: j, Authority: a, Policies: policies, Writes: writes,
		Devices: deviceReader{f}, Presence: presenceReader{f}, Operations: operationReader{f}, Status: statusReader{f},
		Views: views{f}, Inbox: &box{}, Checkpoints: checkpoints{}, AdminTokenFile: filepath.Join(dir, "admin.token"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(c.Handler())
	defer server.Close()

	token, _ := os.ReadFile(filepath.Join(dir, "admin.token"))
	ask, _ := http.NewRequest("POST", server.URL+console.PathTokens, bytes.NewReader([]byte(`{"uses":25}`)))
	ask.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	ask.Header.Set("Content-Type", "application/json")
	got, err := server.Client().Do(ask)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer got.Body.Close()
	var reply console.TokenReply
	if err := json.NewDecoder(got.Body).Decode(&reply); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Status, "- a token for", reply.Uses, "devices, in the journal as event", reply.Event)
	// Output: 200 OK - a token for 25 devices, in the journal as event 1
}
