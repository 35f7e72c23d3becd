package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
)

// maxPolicyFile is the longest file of settings that is read.
const maxPolicyFile = 1 << 20

func policyEditor(o *Options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "edit",
		Short: "Change the settings of all agents in an editor",
		Long: `Open the settings of all agents as JSON in $VISUAL or $EDITOR (else vi), and take what is
saved there. Settings that are left out are the agents' own defaults. If somebody else
changes the settings meanwhile nothing is taken.

Maintenance windows are a list:

  "windows": [{"name": "patch night", "kind": "updates", "start": "2026-11-28T01:00", "minutes": 180,
               "every": {"unit": "month", "nth": "second", "weekday": "tue", "offset": 2}}]`,
		Example: "  EDITOR=nano bugle policy edit --reason 'ticket 4711'",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			p, err := s.policy()
			if err != nil {
				return err
			}
			before, err := json.MarshalIndent(p.Policy, "", "  ")
			if err != nil {
				return err
			}
			after, err := s.edit(before)
			if err != nil {
				return err
			}
			var body console.PolicyBody
			if err := parsePolicy(after, &body); err != nil {
				return err
			}
			if bytes.Equal(bytes.TrimSpace(after), before) {
				s.note("Nothing was changed.")
				return nil
			}
			var reply console.PolicyReply
			r := request{method: "PUT", path: console.PathPolicy, match: ifMatch(p.Version), body: console.PolicyRequest{Policy: body, Reason: reason}}
			if err := s.client.call(s.ctx, r, &reply); err != nil {
				return err
			}
			if !s.Quiet || !s.out.table() {
				s.showPolicy(reply)
			}
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

// parsePolicy reads settings as a person wrote them: a name that is wrong is an
// error, and so is a window that never opens.
func parsePolicy(raw []byte, body *console.PolicyBody) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(body); err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if d.More() {
		return errors.New("read the settings: something follows them")
	}
	if len(body.Windows) == 0 || string(body.Windows) == "null" {
		return nil
	}
	_, err := window.Parse(body.Windows)
	return err
}

// edit lets a person edit a text.
func (s *session) edit(text []byte) ([]byte, error) {
	f, err := os.CreateTemp("", "bugle-policy-*.json")
	if err != nil {
		return nil, fmt.Errorf("edit the settings: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("edit the settings: %w", err)
	}
	editor := "vi"
	for _, name := range []string{"EDITOR", "VISUAL"} {
		if e := strings.TrimSpace(os.Getenv(name)); e != "" {
			editor = e
		}
	}
	words := strings.Fields(editor)
	c := exec.CommandContext(s.ctx, words[0], append(words[1:], f.Name())...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("edit the settings with %s: %w", editor, err)
	}
	return readBounded(f.Name())
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicyFile+1))
	if err == nil && len(b) > maxPolicyFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxPolicyFile)
	}
	return b, err
}

// valueOrFile is a value, or what the file holds that @FILE names.
func valueOrFile(value string) ([]byte, error) {
	if path, ok := strings.CutPrefix(value, "@"); ok {
		return readBounded(path)
	}
	return []byte(value), nil
}

func setWindows(to *json.RawMessage, op byte, value string) error {
	if op != '=' {
		return usage("windows: set the whole list with windows=@FILE, or use 'bugle policy edit'")
	}
	raw, err := valueOrFile(value)
	if err != nil {
		return err
	}
	if *to = nil; len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	if _, err := window.Parse(raw); err != nil {
		return usage("%w", err)
	}
	*to = raw
	return nil
}

// windowsShown is maintenance windows in short: names, kinds and when they begin.
func windowsShown(raw json.RawMessage) string {
	var list []struct {
		Name, Kind, Start string
		Minutes           int
		Enabled           *bool
		Every             json.RawMessage
	}
	if json.Unmarshal(raw, &list) != nil {
		return string(raw)
	}
	words := make([]string, 0, len(list))
	for _, w := range list {
		word := fmt.Sprintf("%s: %s, %d min", w.Name, w.Start, w.Minutes)
		if w.Kind != "" && w.Kind != string(window.General) {
			word += ", " + w.Kind
		}
		if len(w.Every) > 0 {
			word += ", " + string(w.Every)
		}
		if w.Enabled != nil && !*w.Enabled {
			word += ", disabled"
		}
		words = append(words, word)
	}
	return strings.Join(words, "; ")
}
