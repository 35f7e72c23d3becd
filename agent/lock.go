package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrInUse is wrapped by the error of [Open] and [Join] if another agent holds
// the folder.
var ErrInUse = errors.New("another agent is using this folder")

const (
	lockName  = "lock"
	lockTries = 5
	lockWait  = 20 * time.Millisecond
)

// lockDir takes dir for this process, until the file is closed or the process
// ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock agent folder: %w", err)
	}
	err = lockFile(f)
	for i := 0; i < lockTries && errors.Is(err, ErrInUse); i++ {
		time.Sleep(lockWait) // it may only be somebody who asks who runs here
		err = lockFile(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
