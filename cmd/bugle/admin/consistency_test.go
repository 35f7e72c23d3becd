package admin

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A signedJournal is a journal with a tree, and the key that signs it.
type signedJournal struct {
	t      *testing.T
	j      *journaltest.Memory
	tree   *tree.Tree
	key    ed25519.PrivateKey
	origin string
}

func newSignedJournal(t *testing.T, origin string, seed byte) *signedJournal {
	t.Helper()
	s := &signedJournal{t: t, j: journaltest.NewMemory(journal.Options{}), key: ed25519.NewKeyFromSeed(append(make([]byte, 31), seed)), origin: origin}
	var err error
	if s.tree, err = tree.Open(t.TempDir(), tree.Options{Journal: s.j, Origin: origin, Key: s.key}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.tree.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		s.tree.Close()
		s.j.Close()
	})
	return s
}

// sign appends n events and returns a checkpoint that covers them.
func (s *signedJournal) sign(n int, what string) string {
	s.t.Helper()
	for range n {
		if err := s.j.Append(s.t.Context(), &event.Event{Payload: &event.TokenRevoked{Token: what}}); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.tree.Wait(s.t.Context(), s.j.Head().Event); err != nil {
		s.t.Fatal(err)
	}
	text, _ := s.tree.Checkpoint()
	return string(text)
}

func (s *signedJournal) verifierKey() string {
	key, err := tree.VerifierKey(s.origin, s.key.Public().(ed25519.PublicKey))
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// prove answers as the console does.
func (s *signedJournal) prove(w http.ResponseWriter, r *http.Request) {
	older, err := tree.OpenCheckpoint([]byte(r.URL.Query().Get("older")), s.key.Public().(ed25519.PublicKey), s.origin)
	if err != nil {
		answerProblem(w, 422, "The checkpoint cannot be taken", err.Error())
		return
	}
	proof, newer, err := s.tree.ConsistencyProof(r.Context(), older)
	if err != nil {
		answerProblem(w, 409, "The journal is not the one that was signed", err.Error())
		return
	}
	answer(console.ConsistencyReply{Proof: string(proof), Newer: string(newer)})(w, r)
}

func TestConsistency(t *testing.T) {
	const origin = "bugle.P01/00"
	ours, dir := newSignedJournal(t, origin, 1), t.TempDir()
	keep := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	monday := keep("monday", ours.sign(3, "a"))
	tuesday := keep("tuesday", ours.sign(4, "b"))
	ours.sign(5, "c")
	forged := newSignedJournal(t, origin, 1) // the same key, another history
	wednesday := keep("wednesday", forged.sign(5, "x"))
	friday := keep("friday", forged.sign(20, "y"))
	elsewhere := newSignedJournal(t, "bugle.P02/00", 1)
	foreign := keep("foreign", elsewhere.sign(3, "a"))
	damaged := keep("damaged", strings.Replace(ours.sign(1, "d"), "events", "evemts", 1))
	key, out := ours.verifierKey(), filepath.Join(dir, "kept")
	other := newSignedJournal(t, origin, 2).verifierKey()

	s := newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathConsistency: ours.prove})
	lying := newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathConsistency: func(w http.ResponseWriter, _ *http.Request) {
		text, _ := forged.tree.Checkpoint()
		answer(console.ConsistencyReply{Proof: fmt.Sprintf("bugle journal consistency v1\nolder 3\nnewer %d\n", forged.j.Head().Pages), Newer: string(text)})(w, nil)
	}})
	elsewhereSite := newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathConsistency: elsewhere.prove})
	type call struct {
		site *fakeSite
		args string
		code int
		word string // in output or error
	}
	check := func(calls []call) {
		t.Helper()
		for _, c := range calls {
			r := run{}.on(c.site, strings.Fields(c.args)...)
			if r.code != c.code || r.err == nil && !strings.Contains(r.stdout, c.word) || r.err != nil && !strings.Contains(r.err.Error(), c.word) {
				t.Errorf("%s: code %d, %q, %v; want %d with %q", c.args, r.code, r.stdout, r.err, c.code, c.word)
			}
		}
	}
	check([]call{
		{s, "journal consistency " + monday + " --key " + key, 0, "ok: the 3 events that were signed at"},
		{s, "journal consistency " + monday + " " + tuesday + " --key " + key + " --output " + out, 0, "are the beginning of the 7 that"},
		{s, "journal consistency " + tuesday + " " + monday + " --key " + key, 2, "give the older one first"},
		{s, "journal consistency " + wednesday + " --key " + key, 1, "not the one that was signed"},
		{s, "journal consistency " + monday + " " + wednesday + " --key " + key, 1, "not the one that was signed"},
		{s, "journal consistency " + friday + " --key " + key, 1, "not the one that was signed"},
		{s, "journal consistency " + foreign + " --key " + key, 1, "another journal"},
		{s, "journal consistency " + damaged + " --key " + key, 1, "damaged"},
		{s, "journal consistency " + monday + " --key " + other, 1, "not signed by this key"},
		{s, "journal consistency " + filepath.Join(dir, "nothing") + " --key " + key, 1, "no such file"},
		{elsewhereSite, "journal consistency " + monday + " --key " + key, 1, "another journal"},
		{lying, "journal consistency " + monday + " --key " + key, 1, "the site's answer does not hold"},
	})
	// What was kept is checked without a site.
	nowhere := &fakeSite{data: t.TempDir()}
	proof, newer := out+".proof", out+".checkpoint"
	bad := keep("bad.proof", strings.Replace(read(t, proof), "newer ", "newer 1", 1))
	check([]call{
		{nowhere, "journal check " + proof + " --older " + monday + " --newer " + newer + " --key " + key, 0, "ok: the 3 events"},
		{nowhere, "journal check " + out + ".newer.proof --older " + tuesday + " --newer " + newer + " --key " + key, 0, "ok: the 7 events"},
		{nowhere, "journal check " + proof + " --older " + tuesday + " --newer " + newer + " --key " + key, 1, "it is for"},
		{nowhere, "journal check " + proof + " --older " + newer + " --newer " + monday + " --key " + key, 2, "give the older one first"},
		{nowhere, "journal check " + proof + " --older " + monday + " --newer " + friday + " --key " + key, 1, "does not hold"},
		{nowhere, "journal check " + proof + " --older " + monday + " --newer " + foreign + " --key " + key, 1, "another journal"},
		{nowhere, "journal check " + proof + " --older " + monday + " --newer " + newer + " --key " + other, 1, "not signed by this key"},
		{nowhere, "journal check " + bad + " --older " + monday + " --newer " + newer + " --key " + key, 1, "check proof"},
		{nowhere, "journal check " + monday + " --older " + monday + " --newer " + newer + " --key " + key, 1, "malformed"},
		{nowhere, "journal check " + proof + " --older - --newer " + newer + " --key " + key, 2, "name files"},
		{nowhere, "journal check " + proof + " --key " + key, 1, "malformed"},
	})
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
