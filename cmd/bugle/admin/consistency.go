package admin

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// keyFlags are how a command that trusts nobody gets the site's public key.
type keyFlags struct{ key, file string }

func (f *keyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.key, "key", "", "the site's public key, ORIGIN+ID+BASE64")
	c.Flags().StringVar(&f.file, "key-file", "", "file that holds it")
}

func (f *keyFlags) read() (origin string, public ed25519.PublicKey, err error) {
	return readVerifierKey(f.key, f.file)
}

func journalConsistency(o *Options) *cobra.Command {
	var key keyFlags
	var keep string
	c := &cobra.Command{
		Use:   "consistency OLDER [NEWER]",
		Short: "Check that the history still begins with what a checkpoint was signed of",
		Long: `Check that nothing that the checkpoint in the file OLDER covers was changed, taken away or
put in between since. OLDER is a text that 'bugle journal checkpoint' printed and that was
kept elsewhere; NEWER is another one of a later time, and without it the site's last one.

The site is asked for a proof, which is checked here with the site's public key (--key or
--key-file): the site is not believed. The key must have come over a way that you trust.
With NEWER both checkpoints are proved against the site's last one.

--output NAME keeps the site's checkpoint as NAME.checkpoint and the proof as NAME.proof
(with NEWER, its own as NAME.newer.proof), which 'bugle journal check' checks later
without a server.

It ends with 0 if the history goes on from OLDER, and with 1 if not.`,
		Example: `  bugle journal checkpoint > monday.txt
  bugle journal consistency monday.txt --key-file head.key
  bugle journal consistency monday.txt --key-file head.key --output friday
  bugle journal check friday.proof --older monday.txt --newer friday.checkpoint --key-file head.key`,
		Args: between(1, "OLDER", "NEWER"),
		RunE: o.with(func(s *session, args []string) error {
			if err := checkFile(keep); err != nil {
				return err
			}
			origin, public, err := key.read()
			if err != nil {
				return err
			}
			kept, err := readCheckpoints(s.in, args, public, origin)
			if err != nil {
				return err
			}
			return s.consistency(kept, public, keep)
		}),
	}
	key.add(c)
	c.Flags().StringVarP(&keep, "output", "o", "", "keep checkpoint and proof in files that begin so")
	return c
}

// A keptCheckpoint is a checkpoint in a file, opened with the key.
type keptCheckpoint struct {
	name string
	text []byte
	tree.Checkpoint
}

// readCheckpoints reads checkpoints of one journal, the older first.
func readCheckpoints(stdin io.Reader, names []string, public ed25519.PublicKey, origin string) ([]keptCheckpoint, error) {
	kept := make([]keptCheckpoint, len(names))
	for i, name := range names {
		text, err := readProof(stdin, name)
		if err != nil {
			return nil, err
		}
		opened, err := tree.OpenCheckpoint(text, public, origin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		kept[i] = keptCheckpoint{name, text, opened}
	}
	if len(kept) == 2 && kept[0].Events > kept[1].Events {
		return nil, usage("%s covers %d events and %s only %d: give the older one first", kept[0].name, kept[0].Events, kept[1].name, kept[1].Events)
	}
	return kept, nil
}

// consistency has every kept checkpoint proved against the site's last one.
func (s *session) consistency(kept []keptCheckpoint, public ed25519.PublicKey, keep string) error {
	var last tree.Checkpoint
	for i := range kept {
		var r console.ConsistencyReply
		err := s.client.get(s.ctx, console.PathConsistency, query("older", string(kept[i].text)), &r)
		if refused, ok := errors.AsType[*ExitError](err); ok {
			err = refused.Err // the call was right, the site's history is not that of the checkpoint
		}
		if err != nil {
			return fmt.Errorf("%s: %w", kept[i].name, err)
		}
		_, newer, err := tree.CheckConsistency(kept[i].text, []byte(r.Newer), []byte(r.Proof), public, kept[i].Origin)
		if err != nil {
			return fmt.Errorf("%s: the site's answer does not hold: %w", kept[i].name, err)
		}
		last = newer
		if err := keepProof(keep, i, &r); err != nil {
			return err
		}
	}
	older := kept[0].Checkpoint
	if len(kept) == 2 {
		last = kept[1].Checkpoint
	}
	if s.out.table() {
		s.out.printf("%s\n", consistent(older, last))
		return nil
	}
	s.out.object(consistencyRow{older.Events, last.Events, true}, []field{{"Older", "older", older.Events}, {"Newer", "newer", last.Events}, {"OK", "ok", true}})
	return nil
}

// A consistencyRow is the outcome for programs.
type consistencyRow struct {
	Older uint64 `json:"older"` // events that the older checkpoint covers
	Newer uint64 `json:"newer"`
	OK    bool   `json:"ok"`
}

func consistent(older, newer tree.Checkpoint) string {
	return fmt.Sprintf("ok: the %d events that were signed at %s are the beginning of the %d that were signed at %s", older.Events,
		older.Signed.Format("2006-01-02 15:04:05Z07:00"), newer.Events, newer.Signed.Format("2006-01-02 15:04:05Z07:00"))
}

// keepProof keeps what a later check needs.
func keepProof(name string, i int, r *console.ConsistencyReply) error {
	if name == "" {
		return nil
	}
	proof := name + ".proof"
	if i > 0 {
		proof = name + ".newer.proof"
	}
	err := errors.Join(durable.Replace(proof, []byte(r.Proof)), durable.Replace(name+".checkpoint", []byte(r.Newer)))
	if err != nil {
		return fmt.Errorf("keep proof: %w", err)
	}
	return nil
}

// checkConsistency is 'journal check' for a proof that goes from one checkpoint to
// another.
func checkConsistency(w io.Writer, proof []byte, older, newer string, public ed25519.PublicKey, origin string) error {
	if older == "-" || newer == "-" {
		return usage("--older and --newer name files")
	}
	kept, err := readCheckpoints(os.Stdin, []string{older, newer}, public, origin)
	if err != nil {
		return err
	}
	o, n, err := tree.CheckConsistency(kept[0].text, kept[1].text, proof, public, origin)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, consistent(o, n))
	return nil
}
