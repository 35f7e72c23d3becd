package projectors

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// openStore opens the Badger store in dir with the small profile: a view is some
// megabytes of rows that are written in large transactions, and a site has many.
// It is managed: the version of a row is the number of the event that wrote it.
func openStore(dir string, log *slog.Logger) (db *badger.DB, err error) {
	opt := badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithSyncWrites(true).
		WithMemTableSize(memtableSize).
		WithNumMemtables(2).
		WithNumCompactors(0). // see compactor
		WithNumLevelZeroTables(calmTables).
		WithNumLevelZeroTablesStall(stallTables).
		WithCompression(options.None).
		WithBlockCacheSize(0).
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
	return badger.OpenManaged(opt)
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
// how far they go.
type meta struct {
	schema   uint32
	history  [16]byte
	position uint64
	accepted int64 // Unix nanoseconds; when the journal took the event at position
	rows     uint64
	rolling  rollingSum
	floor    uint64     // as of earlier events the store is not exact
	since    uint64     // the rows of events behind it were written beside this,
	beside   rollingSum // and their changes have this sum
}

// metaKey sorts before every row and is not part of a dump.
var metaKey = []byte{0, 'm', 'e', 't', 'a'}

const metaVersion = 2

func (m *meta) encode(w *bounded.Writer) {
	w.Array(10)
	w.Uint(metaVersion)
	w.Uint(uint64(m.schema))
	w.Raw(m.history[:])
	w.Uint(m.position)
	w.Int(m.accepted)
	w.Uint(m.rows)
	sum := m.rolling.bytes()
	w.Raw(sum[:])
	w.Uint(m.floor)
	w.Uint(m.since)
	sum = m.beside.bytes()
	w.Raw(sum[:])
}

func decodeMeta(b []byte) (m meta, err error) {
	err = bounded.Decode(b, bounded.Limits{Bytes: 1 << 10}, func(r *bounded.Reader) error {
		if v := r.Version(metaVersion); r.Err() == nil && v != metaVersion {
			r.Fail("version %d of an earlier bugle, which kept no versions of rows", v)
		}
		m.schema = r.Uint32()
		r.Raw(m.history[:])
		m.position = r.Uint64()
		m.accepted = r.Int64()
		m.rows = r.Uint64()
		var sum [32]byte
		r.Raw(sum[:])
		m.rolling.add(sum)
		m.floor = r.Uint64()
		m.since = r.Uint64()
		r.Raw(sum[:])
		m.beside.add(sum)
		r.End()
		return nil
	})
	return m, err
}

var errNoMeta = errors.New("store is empty")

// readMeta reads how far the store goes: to the position that was written last
// if all rows that were written beside it are there, else to the one before.
func readMeta(db *badger.DB) (meta, error) {
	m, err := metaAt(db, math.MaxUint64)
	if err != nil || m.since == m.position {
		return m, err
	}
	there, err := changesBeyond(db, m.since, false)
	if err != nil {
		return m, err
	}
	var sum rollingSum
	var h rowHash
	for _, c := range there {
		if c.event <= m.position {
			sum.add(h.change(c.key, c.value))
		}
	}
	if sum == m.beside {
		return m, nil
	}
	return metaAt(db, m.since)
}

func metaAt(db *badger.DB, event uint64) (m meta, err error) {
	v := at(db, max(event, 1)) // where a fresh store has its position 0
	defer v.txn.Discard()
	ok, err := v.get(metaKey, func(b []byte) (err error) {
		m, err = decodeMeta(b)
		return err
	})
	if err == nil && (!ok || m.position > event) {
		err = errNoMeta
	}
	return m, err
}

// writeMeta makes m durable, behind all that was written before.
func writeMeta(db *badger.DB, m meta) error { return writeTogether(db, nil, m, m.position) }

// writeTogether writes the changes, all of one event, and m in one transaction:
// after a crash all are there or none.
func writeTogether(db *badger.DB, changes []change, m meta, event uint64) error {
	m.since, m.beside = m.position, rollingSum{}
	txn := db.NewTransactionAt(event, true)
	defer txn.Discard()
	for i := range changes {
		c := &changes[i]
		var err error
		if c.value == nil {
			err = txn.Delete(c.key)
		} else {
			err = txn.Set(c.key, c.value)
		}
		if err != nil {
			return fmt.Errorf("write row %x: %w", c.key, err)
		}
	}
	b, err := bounded.Encode(nil, m.encode)
	if err == nil {
		err = txn.Set(metaKey, b)
	}
	if err == nil {
		err = txn.CommitAt(max(event, 1), nil)
	}
	if err != nil {
		return fmt.Errorf("write position %d: %w", m.position, err)
	}
	return nil
}

// writeRows makes changes of many events durable, each at the version of its
// event, and m beside them unless it is nil. They go into Badger's log one by
// one, in no order: after a crash any of them may be there and any may be
// missing. Readers see none before the position is known to be durable;
// [readMeta] finds out whether all are there, and [forgetBeyond] takes back what
// is left over if not.
func writeRows(db *badger.DB, changes []change, m *meta) error {
	w := db.NewManagedWriteBatch()
	defer w.Cancel()
	entries := make([]badger.Entry, len(changes)+1)
	for i := range changes {
		c := &changes[i]
		var err error
		if c.value == nil {
			err = w.DeleteAt(c.key, c.event)
		} else {
			entries[i].Key, entries[i].Value = c.key, c.value
			err = w.SetEntryAt(&entries[i], c.event)
		}
		if err != nil {
			return fmt.Errorf("write row %x: %w", c.key, err)
		}
	}
	if m != nil {
		b, err := bounded.Encode(nil, m.encode)
		if err == nil {
			e := &entries[len(changes)]
			e.Key, e.Value = metaKey, b
			err = w.SetEntryAt(e, m.position)
		}
		if err != nil {
			return fmt.Errorf("write position %d: %w", m.position, err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write %d rows: %w", len(changes), err)
	}
	return nil
}

// forgetBeyond takes back what a crash left of events behind position: at the
// versions of those events it writes what there was at position. So whatever is
// folded next finds no trace of them.
func forgetBeyond(db *badger.DB, position uint64) error {
	if db.MaxVersion() <= position {
		return nil
	}
	left, err := changesBeyond(db, position, true)
	if err != nil || len(left) == 0 {
		return err
	}
	return writeRows(db, left, nil)
}

// changesBeyond returns the changes that the store has of events behind position:
// as they are, or with the values that there were at position.
func changesBeyond(db *badger.DB, position uint64, former bool) (all []change, err error) {
	then, now := at(db, position), at(db, math.MaxUint64)
	defer then.txn.Discard()
	defer now.txn.Discard()
	it := now.txn.NewIterator(badger.IteratorOptions{AllVersions: true, SinceTs: position})
	defer it.Close()
	for it.Rewind(); it.Valid() && err == nil; it.Next() {
		item := it.Item()
		if bytes.Compare(item.Key(), firstKey) < 0 {
			continue
		}
		c := change{key: item.KeyCopy(nil), event: item.Version()}
		keep := func(v []byte) error {
			c.value = append([]byte{}, v...)
			return nil
		}
		if former {
			_, err = then.get(c.key, keep)
		} else if !item.IsDeletedOrExpired() {
			err = item.Value(keep)
		}
		all = append(all, c)
	}
	return all, err
}
