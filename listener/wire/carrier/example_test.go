package carrier_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

// A listener answers what it reads; an agent reaches it through HTTPS requests
// that wait.
func Example() {
	polls := carrier.NewPolls(100, func(w http.ResponseWriter, status int, title, detail string) {
		http.Error(w, title, status)
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		polls.Serve(w, r, "device 7", func(c carrier.Conn) error { // by its certificate
			go func() {
				defer c.Close()
				word, _ := io.ReadAll(c)
				fmt.Fprintf(c, "%s to you", word)
			}()
			return nil
		})
	}))
	defer server.Close()

	conn, err := carrier.DialPoll(context.Background(), server.Client(), server.URL+carrier.PollPath)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "good morning")
	conn.CloseWrite()
	answer, err := io.ReadAll(conn)
	fmt.Println(string(answer), err)
	// Output: good morning to you <nil>
}
