package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/tree"
)

func parent(stored string) string { return path.Dir(stored) }

func hashOf(b []byte) [32]byte { return sha256.Sum256(b) }

// historyOf is the journal's identity, with which its origin ends.
func historyOf(origin string) (history [16]byte, err error) {
	b, err := hex.DecodeString(origin[strings.LastIndexByte(origin, '/')+1:])
	if err != nil || len(b) != len(history) {
		return history, fmt.Errorf("origin %q does not end with the name of a history", origin)
	}
	return [16]byte(b), nil
}

// readSite reads the site's code from its folder of keys.
func readSite(keys string) (string, error) {
	b, err := readSmall(filepath.Join(keys, "site.json"), 64<<10)
	if err != nil {
		return "", fmt.Errorf("read the site's code: %w", err)
	}
	var mark struct {
		Site string `json:"site"`
	}
	if err := json.Unmarshal(b, &mark); err != nil || mark.Site == "" {
		return "", fmt.Errorf("read the site's code: %s names none", filepath.Join(keys, "site.json"))
	}
	return mark.Site, nil
}

// An Offline is the history of a site that does not run, and cannot as long as
// this is open.
type Offline struct {
	data    string
	journal *offline.Journal
	origin  string
}

// OpenOffline opens the history of the site in folder data. The error wraps
// [journal.ErrLocked] if the site runs.
func OpenOffline(data string) (*Offline, error) {
	j, err := offline.Open(filepath.Join(data, "journal"), offline.Options{})
	if err != nil {
		return nil, err
	}
	site, err := readSite(filepath.Join(data, "keys"))
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return &Offline{data, j, fmt.Sprintf("bugle.%s/%x", site, j.History())}, nil
}

// Close lets the site start again.
func (o *Offline) Close() error { return o.journal.Close() }

// Origin implements [Source].
func (o *Offline) Origin() string { return o.origin }

// Generations implements [Source].
func (o *Offline) Generations() (generation.List, error) { return o.journal.Generations(), nil }

// Pages implements [Source].
func (o *Offline) Pages(ctx context.Context, from uint64) (Pages, error) {
	r, err := o.journal.Read(ctx, from)
	if err != nil {
		return nil, err
	}
	return &offlinePages{r, o, o.journal.Head()}, nil
}

type offlinePages struct {
	journal.Reader
	site *Offline
	head journal.Head
}

// Seal implements [Pages]. What was appended after the last checkpoint, before a
// crash, has none; the root tells what it is.
func (p *offlinePages) Seal(ctx context.Context) (root tlog.Hash, text []byte, err error) {
	text, signed, err := p.site.signed()
	if err != nil {
		return root, nil, err
	}
	if len(signed) > 0 && signed[0].Head() == p.head {
		return signed[0].Root, text, nil
	}
	r, err := p.site.journal.Read(ctx, 1)
	if err != nil {
		return root, nil, err
	}
	defer r.Close()
	report, err := tree.Verify(ctx, r, signed, nil)
	return report.Root, text, err
}

// signed is the site's last checkpoint, if it has signed one.
func (o *Offline) signed() (text []byte, signed []tree.Checkpoint, err error) {
	text, err = readSmall(offline.CheckpointFile(filepath.Join(o.data, "journal")), tree.MaxCheckpoint)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := readHeadKey(filepath.Join(o.data, filepath.FromSlash(nameHeadKey)))
	if err != nil {
		return nil, nil, err
	}
	c, err := tree.OpenCheckpoint(text, publicOf(key), o.origin)
	return text, []tree.Checkpoint{c}, err
}
