package outpost_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/relay"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// backlogName is the environment variable with the number of result rows that come
// to the listener together, such as 50.
const backlogName = "LAB_BACKLOG_ROWS"

const (
	backlogDevices    = 200
	backlogOperations = 500
)

// The site was away, and a listener has 100,000 results for it: how long until
// they are in the views.
func TestLabBacklog(t *testing.T) {
	rows, err := strconv.Atoi(os.Getenv(backlogName))
	if err != nil || rows < 1 {
		t.Skip("a measurement: set " + backlogName + " to the rows of one file")
	}
	w := newWorld(t)
	east := w.listener("EAST01")
	east.stop()
	devices := w.enroll(backlogDevices)
	var operations []task.ID
	for range backlogOperations {
		id, err := task.ParseID(w.push("scan.quick"))
		if err != nil {
			t.Fatal(err)
		}
		operations = append(operations, id)
	}
	dropped := time.Now()
	files := w.backlog(east, devices, operations, rows)
	kept := time.Since(dropped)

	began := time.Now()
	east.start()
	last := console.Path(console.PathOperation, operations[len(operations)-1].String())
	w.until("the last operation is done", func() bool {
		var o console.OperationReply
		w.call("GET", last, nil, &o)
		return o.States["succeeded"] == backlogDevices
	})
	took := time.Since(began)
	for _, id := range operations {
		if o := w.operation(id.String()); o.States["succeeded"] != backlogDevices {
			t.Errorf("operation %s: %v", id, o.States)
		}
	}
	t.Logf("%d results that came %d at a time (kept within %v, in %d files): in the views after %v",
		backlogDevices*backlogOperations, rows, kept.Round(10*time.Millisecond), files, took.Round(10*time.Millisecond))
}

// A device is one whose agent does not run.
type device struct {
	number uint32
	key    []byte // of its results
}

// enroll lets devices join.
func (w *world) enroll(n int) (all []device) {
	w.t.Helper()
	token := w.token(console.TokenRequest{Uses: uint32(n)})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.http.Transport.(*http.Transport).TLSClientConfig.RootCAs}}}
	defer client.CloseIdleConnections()
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := json.Marshal(wire.JoinRequest{Token: token, CSR: csr, Name: fmt.Sprintf("pc%04d", i), OS: "linux", Arch: "amd64", Agent: "1"})
		if err != nil {
			w.t.Fatal(err)
		}
		resp, err := client.Post("https://"+w.cfg.ListenHTTP+wire.JoinPath, "application/json", bytes.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		var a wire.JoinReply
		err = json.NewDecoder(resp.Body).Decode(&a)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			w.t.Fatalf("join: %s, %v", resp.Status, err)
		}
		all = append(all, device{a.Device, resultKey(w.t, key, &a)})
	}
	return all
}

func resultKey(t *testing.T, key *ecdsa.PrivateKey, a *wire.JoinReply) []byte {
	t.Helper()
	private, err := key.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdh.P256().NewPublicKey(a.ResultKey)
	if err != nil {
		t.Fatal(err)
	}
	id, err := task.ParseID(a.ID)
	if err != nil {
		t.Fatal(err)
	}
	k, err := task.ResultKey(private, public, a.Site, id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// backlog fills the listener's box with a success of every device in every
// operation, while the site is away, and returns how many files that are.
func (w *world) backlog(p *post, devices []device, operations []task.ID, together int) int {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.cfg.Data, "keys", "box.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := relay.OpenForwarder(relay.ForwarderConfig{Dir: filepath.Join(p.cfg.Data, "box"), Site: w.cfg.Code, Listener: "EAST01", Epoch: 1,
		Key: key.(ed25519.PrivateKey), Send: func(context.Context, []box.Raw) (int, error) { return 0, relay.ErrAway }}, false)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	ctx, stop := context.WithCancel(w.t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	var rows []box.ResultRow
	flush := func() {
		if err := f.Drop(&box.Results{Rows: rows}, time.Now(), time.Now()); err != nil {
			w.t.Fatal(err)
		}
		rows = rows[:0]
	}
	for _, id := range operations {
		for _, d := range devices {
			r := task.Result{Operation: id, Device: d.number, Attempt: 1, State: task.Succeeded, At: time.Now()}
			if rows = append(rows, box.ResultRow{Result: r, MAC: r.MAC(d.key)}); len(rows) == together {
				flush()
			}
		}
	}
	if len(rows) > 0 {
		flush()
	}
	stop()
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
	files, _ := f.Waiting()
	return int(files)
}
