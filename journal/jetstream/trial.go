package jetstream

import (
	"os"
	"strings"
)

// trialPrefix begins the name of an empty file with which JetStream tries whether
// it may write. It removes it at once, unless it is killed before.
const trialPrefix = "_test_"

func isTrial(e os.DirEntry) bool {
	if !strings.HasPrefix(e.Name(), trialPrefix) || !e.Type().IsRegular() {
		return false
	}
	info, err := e.Info()
	return err == nil && info.Size() == 0
}
