package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProof takes a proof away from the site and checks it without it.
func TestProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var checkpoint struct {
		Key    string
		Events uint64
	}
	w.object(&checkpoint, "journal", "checkpoint")
	proof := w.text("journal", "prove", "2")
	w.site.stop()

	file := filepath.Join(w.dir, "event.proof")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(proof)
	if out := w.text("journal", "check", file, "--key", checkpoint.Key); !strings.HasPrefix(out, "ok: event 2 (") {
		t.Errorf("check printed %q", out)
	}
	altered := []byte(proof)
	altered[strings.Index(proof, "body")+8] ^= 1
	write(string(altered))
	if out, code, stderr := w.try("journal", "check", file, "--key", checkpoint.Key); code != 1 || stderr == "" {
		t.Errorf("an altered proof: exit %d, %s%s", code, out, stderr)
	}
	write(proof)
	for _, key := range []string{"", "x", strings.Replace(checkpoint.Key, "bugle.", "other.", 1)} {
		if out, code, stderr := w.try("journal", "check", file, "--key", key); code != 2 {
			t.Errorf("key %q: exit %d, %s%s", key, code, out, stderr)
		}
	}
}

// TestYesterdaysJournal puts an earlier copy of the journal in the place of what
// was signed since: the site does not start, and says why.
func TestYesterdaysJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.site.stop()
	journal, copied := filepath.Join(w.data(), "journal"), filepath.Join(w.dir, "yesterday")
	if err := os.CopyFS(copied, os.DirFS(journal)); err != nil {
		t.Fatal(err)
	}
	w.serve()
	w.text("token", "create")
	w.site.stop()

	kept, err := os.ReadFile(filepath.Join(journal, "tree", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(journal); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, journal); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(journal, "tree", "checkpoint"), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "bugle", "serve", "--data", w.data(), "--listen-tcp", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-feed", "", "--console", "127.0.0.1:0")
	p.await("the journal ends here, but it had events up to")
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("serve ended with %d, want 1", code)
	}
}
