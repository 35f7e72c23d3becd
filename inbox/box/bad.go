package box

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is put aside.
const (
	MaxBadName = 128     // bytes of a name in bad; a longer or stranger one is rewritten
	MaxReason  = 4 << 10 // bytes of a reason
	maxSame    = 1 << 16 // entries of one name in bad
)

// A BadFile is something that was put aside.
type BadFile struct {
	Name   string // in bad; what [Box.Requeue] takes
	Reason string // for a person
}

// Quarantine moves a claimed entry, whatever it is, to bad, with its reason in a
// file beside it, and returns the name that it has there. Names outside
// [A-Za-z0-9._-]{1,128} are rewritten; one that is taken gets a number: X~2.
// If only the reason could not be written, the name is returned with an error.
func (b *Box) Quarantine(entry, reason string) (string, error) {
	name, err := b.freeBadName(Tame(entry))
	if err != nil {
		return "", fmt.Errorf("put %.200q aside: %w", entry, err)
	}
	// The reason first: a file without one would tell nobody anything. That it
	// cannot be written, on a full disk, does not keep the file.
	noReason := b.writeReason(name, reason)
	if err := b.root.Rename(inWork(entry), badFolder+"/"+name); err != nil {
		b.root.Remove(badFolder + "/" + name + reasonSuffix)
		return "", fmt.Errorf("put %.200q aside: %w", entry, err)
	}
	if noReason != nil {
		return name, fmt.Errorf("write reason of %s: %w", name, noReason)
	}
	return name, nil
}

// Tame returns the name under which an entry is put aside and spoken of: the
// entry's own if it is [A-Za-z0-9._-]{1,128}, else one made of it.
func Tame(entry string) string {
	ok := len(entry) > 0 && len(entry) <= MaxBadName && entry[0] != '.' && !strings.HasSuffix(entry, reasonSuffix)
	safe := []byte(entry)
	for i, c := range safe {
		if !tameByte(c) {
			safe[i], ok = '_', false
		}
	}
	if ok {
		return entry
	}
	sum := sha256.Sum256([]byte(entry))
	return "_" + string(safe[:min(len(safe), MaxBadName-40)]) + "_" + hex.EncodeToString(sum[:8])
}

func tameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

func (b *Box) freeBadName(name string) (string, error) {
	for i := 1; i <= maxSame; i++ {
		try := name
		if i > 1 {
			try = fmt.Sprintf("%s~%d", name, i)
		}
		_, err := b.root.Lstat(badFolder + "/" + try)
		if errors.Is(err, fs.ErrNotExist) {
			return try, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%d entries of that name were put aside already", maxSame)
}

func (b *Box) writeReason(name, reason string) error {
	path := badFolder + "/" + name + reasonSuffix
	if err := b.root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := b.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(reason[:min(len(reason), MaxReason)] + "\n")
	return errors.Join(err, f.Close())
}

// original is the name that an entry of bad had before a number was added to
// keep it apart from one of the same name.
func original(entry string) string {
	name, _, _ := strings.Cut(entry, "~")
	return name
}

// Requeue puts an entry of bad back among what waits, under the name that it
// had. Only what has the name of a file can go back; an error that wraps
// fs.ErrExist means that another file of that name waits.
func (b *Box) Requeue(name string) (Name, error) {
	n, err := ParseName(original(name))
	if err != nil {
		return Name{}, fmt.Errorf("requeue %.200q: %w", name, err)
	}
	if Tame(original(name)) != original(name) || strings.ContainsAny(name, "/\x00") {
		return Name{}, fmt.Errorf("requeue %.200q: %w", name, ErrName)
	}
	if _, err := b.root.Lstat(n.String()); err == nil {
		return Name{}, fmt.Errorf("requeue %s: a file of that name waits: %w", name, fs.ErrExist)
	}
	if err := b.root.Rename(badFolder+"/"+name, n.String()); err != nil {
		return Name{}, fmt.Errorf("requeue %s: %w", name, err)
	}
	if err := b.root.Remove(badFolder + "/" + name + reasonSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, fmt.Errorf("requeue %s: %w", name, err)
	}
	return n, syncFolder(b.dir)
}

// Bad lists what was put aside, by name, at most [MaxScan] entries.
func (b *Box) Bad() ([]BadFile, error) {
	var names []string
	err := readNames(filepath.Join(b.dir, badFolder), func(entry string) {
		if !strings.HasSuffix(entry, reasonSuffix) && len(names) < MaxScan {
			names = append(names, entry)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list bad files: %w", err)
	}
	slices.Sort(names)
	bad := make([]BadFile, len(names))
	for i, name := range names {
		reason, _ := read(b.root, badFolder+"/"+name+reasonSuffix)
		bad[i] = BadFile{name, strings.TrimSpace(string(reason[:min(len(reason), MaxReason)]))}
	}
	return bad, nil
}
