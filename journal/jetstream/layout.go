package jetstream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/highwayhash"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// Names in a journal's folder; package generation has the others.
const (
	lockFile      = "lock"
	stateFile     = "state"
	runningFile   = "running"   // there while the journal is open, and after a crash
	importingFile = "importing" // there until an import is complete
	tornFolder    = "torn"

	indexFile = "index.db" // JetStream's own summary of a stream
)

func streamsFolder(dir string) string { return filepath.Join(dir, "jetstream", "$G", "streams") }

func streamFolder(dir string, n uint32) string {
	return filepath.Join(streamsFolder(dir), generation.Stream(n))
}

// A layout is what there is in the folder of the live store.
type layout struct {
	streams   map[uint32]bool // generations that have their folder, whole
	leftovers []string        // folders that a crash has left, without any page that is needed
}

// surveyLive looks at every name that JetStream would look at. Whatever it
// would act upon and has not made, or not for this journal, is damage.
func surveyLive(dir string, list generation.List) (layout, error) {
	l := layout{streams: make(map[uint32]bool)}
	for _, level := range [][2]string{{filepath.Join(dir, "jetstream"), "$G"}, {filepath.Join(dir, "jetstream", "$G"), "streams"}} {
		if err := only(level[0], level[1]); err != nil {
			return l, err
		}
	}
	entries, err := os.ReadDir(streamsFolder(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return l, err
	}
	for _, e := range entries {
		if err := l.stream(dir, e.Name(), list); err != nil {
			return l, err
		}
	}
	return l, nil
}

// only makes sure that a folder, if it is there, holds nothing but the given
// names.
func only(folder string, names ...string) error {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) && !isTrial(e) {
			return foreign(filepath.Join(folder, e.Name()), journal.Head{}, "it is not of this journal")
		}
	}
	return nil
}

// foreign is damage of a file that holds no pages, in front of the page behind
// head.
func foreign(name string, head journal.Head, reason string) error {
	return &journal.DamageError{Event: head.Event + 1, Page: head.Pages + 1, File: name, Reason: reason}
}

// stream looks at one folder in that of all streams.
func (l *layout) stream(dir, name string, list generation.List) error {
	path := filepath.Join(streamsFolder(dir), name)
	var n uint32
	bare := strings.TrimPrefix(name, ".") // JetStream renames what it removes
	if _, err := fmt.Sscanf(bare, "JOURNAL-%d", &n); err != nil || generation.Stream(n) != bare {
		return foreign(path, journal.Head{}, "it is not of this journal")
	}
	if n == 0 || int(n) > len(list)+1 {
		return foreign(path, list[len(list)-1].Before, "there is no such generation in the file generations")
	}
	if int(n) == len(list)+1 {
		// It was about to be made when the list was taken back.
		if err := l.unused(path, list[len(list)-1].Before); err != nil {
			return err
		}
		l.leftovers = append(l.leftovers, path)
		return nil
	}
	g := &list[n-1]
	switch {
	case g.Removed:
		l.leftovers = append(l.leftovers, path)
	case bare != name:
		return foreign(path, g.Before, "a generation that is needed was being removed")
	case g.Sealed():
		l.streams[n] = true
		return checkStream(path, g)
	default:
		if err := checkStream(path, g); err == nil {
			l.streams[n] = true
		} else if l.unused(path, g.Before) == nil {
			l.leftovers = append(l.leftovers, path) // it was being made
		} else {
			return err
		}
	}
	return nil
}

// unused makes sure that the folder of a stream holds no message.
func (l *layout) unused(path string, head journal.Head) error {
	msgs := filepath.Join(path, "msgs")
	entries, err := os.ReadDir(msgs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if strings.HasSuffix(e.Name(), ".blk") && info.Size() > 0 {
			return foreign(filepath.Join(msgs, e.Name()), head, "there are pages of a generation that is not in the file generations")
		}
	}
	return nil
}

// checkStream makes sure that JetStream will open a stream as it was made: with
// other settings it would drop messages at once.
func checkStream(path string, g *generation.Generation) error {
	if err := only(path, "msgs", "obs", "meta.inf", "meta.sum"); err != nil {
		return err
	}
	if err := only(filepath.Join(path, "obs")); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(path, "msgs"))
	if err != nil {
		return foreign(filepath.Join(path, "msgs"), g.Before, "the folder of its messages cannot be read: "+err.Error())
	}
	for _, e := range entries {
		if name := e.Name(); name != indexFile && name != indexFile+".tmp" && !strings.HasSuffix(name, ".blk") {
			return foreign(filepath.Join(path, "msgs", name), g.Before, "it is not of this journal")
		}
	}
	return checkMeta(path, g)
}

// maxMeta bounds the file meta.inf in bytes; it has some 500.
const maxMeta = 64 << 10

func checkMeta(path string, g *generation.Generation) error {
	name := filepath.Join(path, "meta.inf")
	info, err := os.Stat(name)
	if err != nil || info.Size() > maxMeta {
		return foreign(name, g.Before, "the settings of the stream cannot be read")
	}
	meta, err := os.ReadFile(name)
	if err != nil {
		return foreign(name, g.Before, "the settings of the stream cannot be read: "+err.Error())
	}
	if err := sameConfig(meta, g.Number); err != nil {
		return foreign(name, g.Before, "the settings of the stream are not as they were made: "+err.Error())
	}
	sum, err := os.ReadFile(filepath.Join(path, "meta.sum"))
	if want := metaSum(g.Number, meta); err != nil || string(sum) != want {
		return foreign(filepath.Join(path, "meta.sum"), g.Before, "it is not the checksum of the settings of the stream")
	}
	return nil
}

// metaSum is what JetStream expects in meta.sum.
func metaSum(n uint32, meta []byte) string {
	key := sha256.Sum256([]byte(generation.Stream(n)))
	sum := highwayhash.Sum64(meta, key[:])
	var b [8]byte
	for i := range b {
		b[i] = byte(sum >> (8 * i))
	}
	return hex.EncodeToString(b[:])
}

// sameConfig compares the settings in a file meta.inf with those that a stream of
// this package has: any further one is refused, whatever it may mean.
func sameConfig(meta []byte, n uint32) error {
	var got map[string]json.RawMessage
	if err := json.Unmarshal(meta, &got); err != nil {
		return err
	}
	delete(got, "Created")
	want := map[string]string{
		"name": `"` + generation.Stream(n) + `"`, "subjects": `["` + subject(n) + `"]`,
		"retention": `"limits"`, "discard": `"new"`, "storage": `"file"`, "compression": `"none"`,
		"max_consumers": `-1`, "max_msgs": `-1`, "max_bytes": `-1`, "max_age": `0`, "max_msgs_per_subject": `-1`, "max_msg_size": `-1`,
		"num_replicas": `1`, "duplicate_window": `100000000`,
		"allow_direct": `true`, "mirror_direct": `false`, "sealed": `false`, "deny_delete": `true`, "deny_purge": `true`,
		"allow_rollup_hdrs": `false`, "allow_msg_ttl": `false`, "consumer_limits": `{}`, "metadata": `{"_nats.req.level":"0"}`,
	}
	for key, value := range got {
		if want[key] != string(bytes.TrimSpace(value)) {
			return fmt.Errorf("%s is %s", key, value)
		}
	}
	for key := range want {
		if _, ok := got[key]; !ok {
			return fmt.Errorf("%s is missing", key)
		}
	}
	return nil
}
