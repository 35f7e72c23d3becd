package projectors

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// openStore opens the Badger store in dir with the small profile: a view is some
// megabytes of rows that are written in large transactions, and a site has many.
func openStore(dir string, log *slog.Logger) (db *badger.DB, err error) {
	opt := badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithSyncWrites(true).
		WithMemTableSize(32 << 20).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithBlockCacheSize(16 << 20).
		WithValueLogFileSize(64 << 20).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.OnTableRead)
	if db, err = tryOpen(opt); err != nil {
		// After a kill a memtable file may have no bytes: the first open fails at
		// it and clears it away, the second works.
		log.Warn("open store again", "dir", dir, "err", err)
		db, err = tryOpen(opt)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return db, nil
}

// tryOpen turns a panic over damaged files into an error.
func tryOpen(opt badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("damaged files: %v", p)
		}
	}()
	return badger.Open(opt)
}

// badgerLog hands Badger's lines to slog; what Badger calls information is
// detail here.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any) { l.log.Error(line(f, a)) }
func (l badgerLog) Debugf(string, ...any)     {}

// Warningf tells of everything but that a cache could be larger, which is a
// choice and no trouble.
func (l badgerLog) Warningf(f string, a ...any) {
	if strings.Contains(f, "might be too small") || strings.HasPrefix(f, "Cache life expectancy") {
		return
	}
	l.log.Warn(line(f, a))
}
func (l badgerLog) Infof(f string, a ...any) { l.log.Debug(line(f, a)) }

func line(f string, a []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(f, a...))
}

// meta is the one row that is not the fold's: which history the rows are of and
// how far they go. It is written in the same transaction as the rows.
type meta struct {
	schema   uint32
	history  [16]byte
	position uint64
	rows     uint64
	rolling  rollingSum
	torn     bool // rows of the event behind position are there in part
}

// metaKey sorts before every row and is not part of a dump.
var metaKey = []byte{0, 'm', 'e', 't', 'a'}

func (m *meta) encode(w *bounded.Writer) {
	w.Array(7)
	w.Uint(1)
	w.Uint(uint64(m.schema))
	w.Raw(m.history[:])
	w.Uint(m.position)
	w.Uint(m.rows)
	sum := m.rolling.bytes()
	w.Raw(sum[:])
	w.Bool(m.torn)
}

func decodeMeta(b []byte) (m meta, err error) {
	err = bounded.Decode(b, bounded.Limits{Bytes: 1 << 10}, func(r *bounded.Reader) error {
		r.Version(1)
		m.schema = r.Uint32()
		r.Raw(m.history[:])
		m.position = r.Uint64()
		m.rows = r.Uint64()
		var sum [32]byte
		r.Raw(sum[:])
		m.rolling.add(sum)
		m.torn = r.Bool()
		r.End()
		return nil
	})
	return m, err
}

var errNoMeta = errors.New("store is empty")

func readMeta(db *badger.DB) (m meta, err error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	ok, err := get(txn, metaKey, func(v []byte) (err error) {
		m, err = decodeMeta(v)
		return err
	})
	if err == nil && !ok {
		err = errNoMeta
	}
	return m, err
}

func (g *generation) put(txn *badger.Txn, m meta) error {
	b, err := bounded.Encode(nil, m.encode)
	if err == nil {
		err = txn.Set(metaKey, b)
	}
	if err != nil {
		return fmt.Errorf("write position %d: %w", m.position, err)
	}
	return nil
}
