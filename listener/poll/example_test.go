package poll_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
)

// An echo sends back what it reads.
type echo struct {
	conn   *poll.Conn
	source atomic.Pointer[poll.Source]
}

func (e *echo) Turn(why poll.Events, _ time.Time) {
	e.conn.Allow(64<<10, why)
	if e.conn.Flush() != nil {
		return
	}
	var buf [512]byte
	for e.conn.Pending() == 0 {
		n, err := e.conn.Read(buf[:])
		if err != nil {
			break
		}
		if _, err := e.conn.Write(buf[:n]); err != nil {
			return
		}
	}
	if e.conn.More() {
		e.source.Load().Call()
	}
}

func Example() {
	loop, err := poll.New(2)
	if err != nil {
		fmt.Println("hello") // there is no poller on this system
		return
	}
	defer loop.Close()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()
	them, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer them.Close()
	us, err := socket.Accept()
	if err != nil {
		log.Fatal(err)
	}
	e := &echo{conn: poll.NewConn(us.(*net.TCPConn))}
	if err := e.conn.Park(); err != nil {
		log.Fatal(err)
	}
	loop.Add(e.conn, e, &e.source)

	fmt.Fprint(them, "hello")
	answer := make([]byte, 5)
	if _, err := io.ReadFull(them, answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer))
	e.source.Load().Remove()
	e.conn.Close()
	// Output: hello
}
