package referee_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/estate/referee"
)

func Example() {
	// No module was installed in this folder.
	dir, err := os.MkdirTemp("", "bugle-sim-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	_, err = referee.StartDuckDB(context.Background(), dir, dir)
	fmt.Println(errors.Is(err, referee.ErrMissing))
	// Output: true
}
