package ports_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/cmd/bugle/ports"
)

func ExampleListen() {
	l, err := ports.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	fmt.Println(l.Addr().Network())
	// Output: tcp
}
