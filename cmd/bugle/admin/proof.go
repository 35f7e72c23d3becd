package admin

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/tree"
)

func journalCheckpoint(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "Show what the site has signed of its history last",
		Long: `Show the last checkpoint: a signed note (C2SP tlog-checkpoint) with the root of an RFC 6962
tree over the whole history. Keep it elsewhere: no history that differs from it can be
proved later. A site signs one a second if anything is new.

-o json also has the public key. Get that once, over a way you trust, for 'bugle journal
check'.`,
		Example: "  bugle journal checkpoint > checkpoint.txt\n  bugle journal checkpoint -o json",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			var c console.CheckpointReply
			if err := s.client.get(s.ctx, console.PathCheckpoint, nil, &c); err != nil {
				return err
			}
			if s.out.table() {
				s.out.printf("%s", c.Checkpoint)
				return nil
			}
			s.out.object(c, []field{{"Events", "events", c.Events}, {"Pages", "pages", c.Pages}, {"Root", "root", c.Root},
				{"Signed", "signed", c.Signed}, {"Origin", "origin", c.Origin}, {"Key", "key", c.Key}, {"Checkpoint", "checkpoint", c.Checkpoint}})
			return nil
		}),
	}
}

func journalProve(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "prove N",
		Short: "Print the proof that an event is in the signed history",
		Long: `Print the proof of event N: a text that holds the event, the way from it to the root of the
tree over the whole history, and the signed checkpoint with that root. Whoever has the
site's public key can check it with 'bugle journal check', without a server.`,
		Example: "  bugle journal prove 4711 > event-4711.proof",
		Args:    exactly("N"),
		RunE: o.with(func(s *session, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || n == 0 {
				return usage("%q is not the number of an event", args[0])
			}
			var p console.ProofReply
			if err := s.client.get(s.ctx, console.Path(console.PathProof, strconv.FormatUint(n, 10)), nil, &p); err != nil {
				return err
			}
			if s.out.table() {
				s.out.printf("%s", p.Proof)
				return nil
			}
			s.out.object(p, []field{{"Number", "number", p.Number}, {"Proof", "proof", p.Proof}})
			return nil
		}),
	}
}

func journalCheck() *cobra.Command {
	var key keyFlags
	var older, newer string
	c := &cobra.Command{
		Use:   "check PROOF",
		Short: "Check a proof, without a server",
		Long: `Check the file PROOF, or - for standard input, which 'bugle journal prove' made. It needs
nothing but the site's public key (--key or --key-file), as 'bugle journal checkpoint -o
json' shows it; the key must have come over a way that you trust, not with the proof.

With --older and --newer, two checkpoints, PROOF is one of 'bugle journal consistency': it
shows that all that the older one covers is the beginning of what the newer one covers.

It ends with 0 if the event is in the history that was signed, or the history goes on from
the older checkpoint, and with 1 if not.`,
		Example: `  bugle journal check event-4711.proof --key-file head.key
  bugle journal check friday.proof --older monday.txt --newer friday.checkpoint --key-file head.key`,
		Args: exactly("PROOF"),
		RunE: func(c *cobra.Command, args []string) error {
			if (older == "") != (newer == "") {
				return usage("a proof of consistency needs both --older and --newer")
			}
			origin, public, err := key.read()
			if err != nil {
				return err
			}
			proof, err := readProof(c.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			if older != "" {
				return checkConsistency(c.OutOrStdout(), proof, older, newer, public, origin)
			}
			e, signed, err := tree.Check(proof, public, origin)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "ok: event %d (%s), accepted %s, is among the %d events that were signed at %s\n",
				e.Number, e.Kind(), e.Accepted.Format("2006-01-02 15:04:05.000Z07:00"), signed.Events, signed.Signed.Format("2006-01-02 15:04:05Z07:00"))
			return nil
		},
	}
	key.add(c)
	c.Flags().StringVar(&older, "older", "", "file of the older checkpoint, for a proof of consistency")
	c.Flags().StringVar(&newer, "newer", "", "file of the newer checkpoint, for a proof of consistency")
	return c
}

func readProof(stdin io.Reader, name string) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read proof: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, tree.MaxProof+1))
	if err != nil {
		return nil, fmt.Errorf("read proof: %w", err)
	}
	return b, nil
}

// readVerifierKey reads a verifier key of signed notes.
func readVerifierKey(key, file string) (origin string, public ed25519.PublicKey, err error) {
	switch {
	case (key == "") == (file == ""):
		return "", nil, usage("give the site's public key with --key or with --key-file")
	case file != "":
		b, err := readSmall(file)
		if err != nil {
			return "", nil, fmt.Errorf("read key: %w", err)
		}
		key = string(b)
	}
	key = strings.TrimSpace(key)
	const ed25519Note = 1 // the algorithm's number in the encoded key
	part := strings.SplitN(key, "+", 3)
	if len(part) == 3 {
		b, err := base64.StdEncoding.DecodeString(part[2])
		if err == nil && len(b) == 1+ed25519.PublicKeySize && b[0] == ed25519Note {
			origin, public = part[0], b[1:]
		}
	}
	if again, err := tree.VerifierKey(origin, public); public == nil || err != nil || again != key {
		return "", nil, usage("%.80q is not a public key such as bugle.P01/0123…+01234567+AbCd…", key)
	}
	return origin, public, nil
}
