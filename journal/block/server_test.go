package block_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

// written makes a stream with a server of the version that bugle embeds, puts
// messages into it, and returns the folder msgs.
func written(t *testing.T, messages []*nats.Msg) string {
	t.Helper()
	dir := t.TempDir()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, SyncAlways: true,
		JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 20, MaxPayload: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Timeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	api, err := jetstream.New(conn, jetstream.WithDefaultTimeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = api.CreateStream(ctx, jetstream.StreamConfig{Name: generation.Stream(3), Subjects: []string{offlinetest.Subject},
		Storage: jetstream.FileStorage, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, Replicas: 1, DenyDelete: true, DenyPurge: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if _, err := api.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	return generation.LiveFolder(filepath.Join(dir), 3)
}

// What the embedded server writes is what FORMAT.md says: it is read as it was
// published, and written by hand it gives the same bytes. A new version of the
// server that writes otherwise fails here.
func TestFormatOfTheServer(t *testing.T) {
	large := make([]byte, 700_000)
	rand.Read(large)
	var messages []*nats.Msg
	for i := range 14 { // more than one file holds
		m := &nats.Msg{Subject: offlinetest.Subject, Data: large[:len(large)-i]}
		if i != 3 {
			m.Header = nats.Header{"Nats-Msg-Id": {string(rune('a' + i))}}
		}
		messages = append(messages, m)
	}
	messages = append(messages, &nats.Msg{Subject: offlinetest.Subject})
	all := files(t, written(t, messages))
	if len(all) < 2 {
		t.Fatalf("%d files", len(all))
	}
	n := 0
	for _, f := range all {
		var again []byte
		err := block.Walk(f, func(r block.Record) error {
			m := messages[n]
			n++
			if r.Sequence != uint64(n) || string(r.Subject) != m.Subject || !bytes.Equal(r.Data, m.Data) || time.Since(time.Unix(0, r.Time)) > time.Hour {
				t.Errorf("message %d is read as message %d of subject %q with %d bytes, at %d", n, r.Sequence, r.Subject, len(r.Data), r.Time)
			}
			want := ""
			if m.Header != nil {
				want = "NATS/1.0\r\nNats-Msg-Id: " + m.Header.Get("Nats-Msg-Id") + "\r\n\r\n"
			}
			if string(r.Header) != want {
				t.Errorf("message %d has the header %q, want %q", n, r.Header, want)
			}
			again = offlinetest.AppendRecord(again, f.Stream, f.Number, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(f.Path); err != nil || !bytes.Equal(b, again) {
			t.Errorf("file %d differs from one that is written by hand, %v", f.Number, err)
		}
	}
	if n != len(messages) {
		t.Errorf("%d messages, want %d", n, len(messages))
	}
}
