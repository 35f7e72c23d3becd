package offlinetest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/minio/highwayhash"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
)

// Subject is that of the messages of a journal.
const Subject = "journal.pages"

// Header is the header of the message that is page n of its stream, as the
// journal publishes it.
func Header(hash [32]byte, n uint64) []byte {
	return fmt.Appendf(nil, "NATS/1.0\r\nNats-Msg-Id: %x\r\nNats-Expected-Last-Sequence: %d\r\n\r\n", hash, n-1)
}

// AppendRecord appends a record as JetStream writes it into file number of a
// stream.
func AppendRecord(b []byte, stream string, number uint32, r block.Record) []byte {
	start := len(b)
	size := uint32(4 + 8 + 8 + 2 + len(r.Subject) + len(r.Data) + 8)
	if len(r.Header) > 0 {
		size = (size + 4 + uint32(len(r.Header))) | 1<<31
	}
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint64(b, r.Sequence)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Subject)))
	b = append(b, r.Subject...)
	key := sha256.Sum256([]byte(stream + "-" + strconv.Itoa(int(number))))
	sum, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err)
	}
	sum.Write(b[start+4 : start+20])
	sum.Write(r.Subject)
	if len(r.Header) > 0 {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Header)))
		b = append(b, r.Header...)
		sum.Write(r.Header)
	}
	b = append(b, r.Data...)
	sum.Write(r.Data)
	return sum.Sum(b)
}

// AppendPage appends the record of a page, which is message n of its stream.
func AppendPage(b []byte, stream string, number uint32, n uint64, raw []byte) []byte {
	return AppendRecord(b, stream, number, block.Record{
		Sequence: n, Time: 1_700_000_000_000_000_000 + int64(n), Subject: []byte(Subject), Header: Header(journal.HashPage(raw), n), Data: raw,
	})
}

// WriteFiles makes a folder msgs with pages as messages 1 and up, so many to a
// file.
func WriteFiles(msgs string, perFile int, pages [][]byte) error {
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		return err
	}
	stream := filepath.Base(filepath.Dir(msgs))
	for number := uint32(1); len(pages) > 0; number++ {
		n := min(perFile, len(pages))
		var b []byte
		for i, raw := range pages[:n] {
			b = AppendPage(b, stream, number, uint64(int(number-1)*perFile+i+1), raw)
		}
		if err := os.WriteFile(filepath.Join(msgs, fmt.Sprintf("%d.blk", number)), b, 0o600); err != nil {
			return err
		}
		pages = pages[n:]
	}
	return nil
}
