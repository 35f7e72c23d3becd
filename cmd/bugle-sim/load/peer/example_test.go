package peer_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load/peer"
)

// An operator hears when a task is counted.
type operator chan int

func (o operator) Task(int, uint64, time.Time)               {}
func (o operator) Safe(int, uint64, time.Time)               {}
func (o operator) Lost(int, error)                           {}
func (o operator) Counted(_ uint64, agents int, _ time.Time) { o <- agents }

func Example() {
	dir, err := os.MkdirTemp("", "peer-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	counted := make(operator, 10) // an observer must not block
	server, err := peer.Open(context.Background(), "goroutine", peer.Config{Agents: 1, Observer: counted, CPU: -1, Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	if _, err := server.SignIn(context.Background(), 0, true); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := server.Push(context.Background(), nil); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("answers:", <-counted)
	// Output: answers: 1
}
