package action_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// host is the agent that runs an action.
type host struct{}

func (host) FetchPolicy(context.Context) (string, error)    { return "", nil }
func (host) SendFacts(context.Context, []action.Fact) error { return nil }
func (host) Changes(_ context.Context, _ string, facts []action.Fact) ([]action.Fact, func(), error) {
	return facts, func() {}, nil
}
func (host) Scan() action.ScanPolicy { return action.ScanPolicy{} }
func (host) FetchUserPolicy(context.Context, string) (string, error) {
	return "", nil
}
func (host) LogFiles() []string { return nil }
func (host) Upload(context.Context, task.ID, io.ReaderAt, int64, action.Digest) error {
	return nil
}
func (host) Verbose(time.Duration) {}

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
