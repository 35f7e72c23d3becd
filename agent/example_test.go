package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/agent"
)

// A machine joins once, and then serves whenever it is up.
func Example() {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	_, err = agent.Join(ctx, agent.JoinConfig{Dir: dir, Site: "site.example:10443", Token: "bugle1.mistyped"})
	fmt.Println(err)

	a, err := agent.Open(dir, agent.Config{Version: "0.1.0"})
	if errors.Is(err, agent.ErrNotJoined) {
		fmt.Println("join first")
		return
	}
	defer a.Close()
	a.Run(ctx)
	// Output:
	// not a join token: it looks like bugle1.ID.SECRET.HASH
	// join first
}

// What runs on every machine must stay small: the agent has nothing of the
// site's journal and views.
func TestTheAgentIsSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/bugle-fleet/bugle/cmd/bugle-agent").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, heavy := range []string{"nats", "badger", "roaring", "bugle/journal", "bugle/projectors", "bugle/console",
			"bugle/inbox", "spf13/cobra", "huma", "prometheus"} {
			if strings.Contains(dep, heavy) {
				t.Errorf("the agent depends on %s", dep)
			}
		}
	}
}
