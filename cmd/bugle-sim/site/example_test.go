package site_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
)

// A site that is bound to all addresses is reached by loopback.
func ExampleReadAddresses() {
	data, err := os.MkdirTemp("", "site-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(data)
	name := site.AddressFile(data)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		fmt.Println(err)
		return
	}
	content := `{"tcp":"[::]:10123","http":"[::]:10443","console":"127.0.0.1:8443"}`
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	a, err := site.ReadAddresses(data)
	fmt.Println(a.TCP, a.HTTP, a.Console, err)
	// Output: 127.0.0.1:10123 127.0.0.1:10443 127.0.0.1:8443 <nil>
}
