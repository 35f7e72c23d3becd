package box

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"time"
)

const dayForm = "20060102"

// Archive moves a claimed file of size bytes to the archive of the day that now
// is in, by UTC. It is for what the journal has; the move itself need not be
// durable.
func (b *Box) Archive(entry string, size int, now time.Time) error {
	day := now.UTC().Format(dayForm)
	err := b.moveTo(day, entry)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the day's folder
		b.setDay("")
		err = b.moveTo(day, entry)
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", entry, err)
	}
	b.resize(day, onDisk(int64(size)))
	return nil
}

func (b *Box) moveTo(day, entry string) error {
	b.mu.Lock()
	known := b.day == day
	b.mu.Unlock()
	if !known {
		if err := b.root.Mkdir(archiveFolder+"/"+day, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		b.setDay(day)
	}
	to := archiveFolder + "/" + day + "/" + entry
	before, _ := b.root.Lstat(to) // a file that came again replaces the one that is there
	if err := b.root.Rename(inWork(entry), to); err != nil {
		return err
	}
	if before != nil {
		b.resize(day, -onDisk(before.Size()))
	}
	return nil
}

func (b *Box) setDay(day string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.day = day
}

// onDisk is what a file of size bytes takes: whole blocks.
func onDisk(size int64) int64 {
	const block = 4096
	return (size + block - 1) / block * block
}

// resize counts bytes that came to a day or went, once the days are counted.
func (b *Box) resize(day string, by int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sizes != nil {
		b.sizes[day] += by
	}
}

// Prune removes from the archive the days that ended before now-age, and then,
// if the rest takes more than maxBytes on disk, the oldest files until nine
// tenths of maxBytes are left. It returns how many files it removed. It may run
// beside the other methods, but not beside itself.
func (b *Box) Prune(now time.Time, age time.Duration, maxBytes int64) (removed int, err error) {
	days, total, err := b.count()
	if err != nil {
		return 0, fmt.Errorf("prune archive: %w", err)
	}
	ended := now.Add(-age).UTC().Format(dayForm)
	enough := total
	if total > maxBytes {
		enough = maxBytes / 10 * 9
	}
	for _, day := range days {
		goal := total - enough
		if day < ended {
			goal = math.MaxInt64
		}
		if goal <= 0 {
			break
		}
		n, gone, err := b.pruneDay(day, goal)
		removed += n
		total -= gone
		if err != nil {
			return removed, fmt.Errorf("prune archive: %w", err)
		}
	}
	return removed, nil
}

// count returns the days of the archive in order and the bytes in all of them.
// It reads the folders once; from then on the sums are kept. They are off by
// what is archived during that once.
func (b *Box) count() (days []string, total int64, err error) {
	b.mu.Lock()
	known := b.sizes != nil
	b.mu.Unlock()
	if !known {
		sizes, err := b.measure()
		if err != nil {
			return nil, 0, err
		}
		b.mu.Lock()
		b.sizes = sizes
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for day, size := range b.sizes {
		days = append(days, day)
		total += size
	}
	slices.Sort(days)
	return days, total, nil
}

func (b *Box) measure() (map[string]int64, error) {
	sizes := make(map[string]int64)
	err := readNames(filepath.Join(b.dir, archiveFolder), func(entry string) {
		if _, err := time.Parse(dayForm, entry); err == nil {
			sizes[entry] = 0
		}
	})
	for day := range sizes {
		err = errors.Join(err, b.eachArchived(day, func(f archived) { sizes[day] += f.size }))
	}
	return sizes, err
}

type archived struct {
	entry    string
	size     int64
	modified int64
}

func (b *Box) eachArchived(day string, each func(archived)) error {
	folder := archiveFolder + "/" + day
	var failed error
	err := readNames(filepath.Join(b.dir, folder), func(entry string) {
		info, err := b.root.Lstat(folder + "/" + entry)
		if err == nil {
			each(archived{entry, onDisk(info.Size()), info.ModTime().UnixNano()})
		} else if !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	})
	return errors.Join(err, failed)
}

// pruneDay removes the oldest files of a day until goal bytes are gone, and the
// folder once nothing is left.
func (b *Box) pruneDay(day string, goal int64) (removed int, gone int64, err error) {
	for gone < goal {
		oldest, err := b.oldestArchived(day)
		if err != nil {
			return removed, gone, err
		}
		if len(oldest) == 0 {
			return removed, gone, b.dropDay(day)
		}
		for _, f := range oldest {
			if gone >= goal {
				break
			}
			if err := b.root.Remove(archiveFolder + "/" + day + "/" + f.entry); err != nil {
				return removed, gone, err
			}
			removed++
			gone += f.size
			b.resize(day, -f.size)
		}
	}
	return removed, gone, nil
}

// oldestArchived returns the oldest files of a day, at most [MaxScan].
func (b *Box) oldestArchived(day string) (files []archived, err error) {
	cut := func() {
		slices.SortFunc(files, func(x, y archived) int { return cmp.Compare(x.modified, y.modified) })
		files = files[:min(len(files), MaxScan)]
	}
	err = b.eachArchived(day, func(f archived) {
		if files = append(files, f); len(files) == 2*MaxScan {
			cut()
		}
	})
	cut()
	return files, err
}

// dropDay removes the empty folder of a day, unless it is the one in use.
func (b *Box) dropDay(day string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.day == day {
		return nil
	}
	delete(b.sizes, day)
	return b.root.Remove(archiveFolder + "/" + day)
}
