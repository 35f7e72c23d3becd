package block

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A File is one file of messages.
type File struct {
	Path    string
	Stream  string    // whose messages it has
	Number  uint32    // from 1; in the order of the messages
	Size    int64     // in bytes
	ModTime time.Time // of the content
	Inode   uint64    // 0 where there are none
	Newest  bool      // it is the last one of its stream
}

const suffix = ".blk"

// Files lists the files of messages in a folder msgs of JetStream, in order. The
// folder above it bears the name of the stream. It is an error if there is
// anything that JetStream would take for such a file and that it has not written,
// or the key of an encrypted one; one that wraps os.ErrNotExist if there is no
// such folder.
func Files(msgs string) ([]File, error) {
	entries, err := os.ReadDir(msgs)
	if err != nil {
		return nil, fmt.Errorf("list files of messages: %w", err)
	}
	stream := filepath.Base(filepath.Dir(filepath.Clean(msgs)))
	var files []File
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".key") {
			return nil, fmt.Errorf("list files of messages: %s: it is the key of an encrypted file, which bugle does not make", filepath.Join(msgs, name))
		}
		digits, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits || !e.Type().IsRegular() {
			return nil, fmt.Errorf("list files of messages: %s: JetStream has not made it", filepath.Join(msgs, name))
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("list files of messages: %w", err)
		}
		files = append(files, File{
			Path: filepath.Join(msgs, name), Stream: stream, Number: uint32(n),
			Size: info.Size(), ModTime: info.ModTime(), Inode: inode(info),
		})
	}
	slices.SortFunc(files, func(a, b File) int { return int(int64(a.Number) - int64(b.Number)) })
	if len(files) > 0 {
		files[len(files)-1].Newest = true
	}
	return files, nil
}
