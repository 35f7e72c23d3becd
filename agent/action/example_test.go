package action_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/agent/action"
)

// host is the agent that runs an action.
type host struct{}

func (host) FetchPolicy(context.Context) (string, error)    { return "", nil }
func (host) SendFacts(context.Context, []action.Fact) error { return nil }
func (host) Scan() action.ScanPolicy                        { return action.ScanPolicy{} }

// A quick scan for one indicator.
func ExampleTable() {
	dir, err := os.MkdirTemp("", "watch")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.WriteFile(filepath.Join(dir, "hello"), []byte("hello"), 0o600)

	kinds, err := action.Table(action.Config{Scanner: "builtin", Folders: []string{dir}})
	if err != nil {
		log.Fatal(err)
	}
	out := kinds["scan.quick"].Action.Run(context.Background(), action.Request{
		Kind:   "scan.quick",
		Params: []byte(`{"sha256":["486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"]}`),
		Host:   host{},
	})
	fmt.Println(out.State, out.Code, out.Detail)
	// Output: succeeded 0 clean: 1 files
}
