package tlsrecord_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/bugle-fleet/bugle/listener/tlsrecord"
)

// A server shakes hands with crypto/tls, and goes on with the keys alone.
func ExampleHandshake() {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer socket.Close()
	base := &tls.Config{Certificates: []tls.Certificate{selfSigned()}}
	go func() {
		raw, err := socket.Accept()
		if err != nil {
			return
		}
		h := tlsrecord.NewHandshake(raw)
		first := tls.Server(h, h.Config(base))
		if first.Handshake() != nil {
			return
		}
		conn, err := h.TakeOver(first)
		if err != nil {
			return // or first is used on, if it is errors.ErrUnsupported
		}
		defer conn.Close()
		name := make([]byte, 100)
		n, _ := conn.Read(name)
		fmt.Fprintf(conn, "hello, %s", name[:n])
		conn.CloseWrite()
	}()

	client, err := tls.Dial("tcp", socket.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(client, "agent 7")
	answer, err := io.ReadAll(client)
	fmt.Println(string(answer), err)
	// Output: hello, agent 7 <nil>
}

func selfSigned() tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	me := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, me, me, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
