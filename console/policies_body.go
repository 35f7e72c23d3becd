package console

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/journal/event"
)

// policyVersion is the version of the document that agents read.
const policyVersion = 1

// encodePolicy checks what the schema cannot and returns the body that is signed.
func encodePolicy(p PolicyBody) ([]byte, error) {
	const title = "The policy cannot be taken"
	for i, s := range p.Indicators {
		if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
			return nil, badRequest(title, "policy.indicators[%d]: %q is not a SHA-256 of 64 hexadecimal digits.", i, clip(s))
		}
	}
	err := cmp.Or(checkPaths("scanFolders", p.ScanFolders), checkPaths("logFiles", p.LogFiles))
	if err != nil {
		return nil, badRequest(title, "%v.", err)
	}
	if p.Windows, err = encodeWindows(p.Windows); err != nil {
		return nil, badRequest(title, "policy.%s.", strings.TrimSuffix(err.Error(), "."))
	}
	p.Indicators = slices.Compact(slices.Sorted(slices.Values(lower(p.Indicators))))
	body, err := json.Marshal(struct {
		Version int `json:"version"` // of the document, which an agent checks
		PolicyBody
	}{policyVersion, p})
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	if len(body) > event.MaxPolicyBody {
		return nil, badRequest(title, "The policy has %d bytes, at most %d are taken; name fewer indicators, folders or windows.", len(body), event.MaxPolicyBody)
	}
	return body, nil
}

func checkPaths(name string, all []string) error {
	for i, s := range all {
		if s == "" || len(s) > event.MaxName || strings.ContainsRune(s, 0) {
			return fmt.Errorf("policy.%s[%d]: a path has 1 to %d bytes", name, i, event.MaxName)
		}
	}
	return nil
}

// encodeWindows checks maintenance windows and spells them the one way; none are
// nil.
func encodeWindows(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	list, err := window.Parse(raw)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return json.Marshal(list)
}

func lower(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = strings.ToLower(s)
	}
	return out
}

// clip shortens what a caller sent for an answer.
func clip(s string) string {
	const max = 80
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max], "") + "…"
}
