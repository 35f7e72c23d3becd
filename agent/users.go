package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	gopsutil "github.com/shirou/gopsutil/v4/host"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The policies of people who sign in at the machine: one file each in a folder,
// as the site signed it. The time of the file is when the person was seen last.
const (
	usersFolder  = "users"
	policySuffix = ".policy"
	forgetAfter  = 30 * 24 * time.Hour // of a person who is gone
	maxUsers     = 64                  // that are signed in, and that are kept
	maxUserFile  = 200                 // bytes of a file's name, suffix not counted
)

// errNoSessions means that who is signed in cannot be found out on this system.
var errNoSessions = errors.New("this system does not tell")

// signedIn returns the names of the people who are signed in at this machine.
func signedIn() ([]string, error) {
	sessions, err := gopsutil.Users()
	if err != nil && runtime.GOOS == "windows" {
		return nil, errNoSessions
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no record of sessions: nobody
		return nil, err
	}
	var names []string
	for _, s := range sessions {
		names = append(names, s.User)
	}
	return names, nil
}

// people returns who is signed in, each once and in order.
func (a *Agent) people() ([]string, error) {
	names, err := a.cfg.Users()
	if err != nil {
		return nil, fmt.Errorf("who is signed in: %w", err)
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return n == "" || len(n) > wire.MaxText || len(userFile(n)) > maxUserFile
	})
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxUsers)], nil
}

// userFile is a person's name as the name of a file, without the suffix: what is
// no letter, digit, hyphen or underscore becomes % and two digits. Capitals too,
// for there are file systems that do not tell them apart.
func userFile(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// userName is the inverse of userFile.
func userName(file string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(file); i++ {
		if file[i] != '%' {
			b.WriteByte(file[i])
			continue
		}
		var c byte
		if i+3 > len(file) {
			return "", false
		}
		if n, err := fmt.Sscanf(file[i+1:i+3], "%02x", &c); n != 1 || err != nil {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), userFile(b.String()) == file
}

func (a *Agent) userPath(name string) string {
	return filepath.Join(a.dir, usersFolder, userFile(name)+policySuffix)
}

// everybody is the name in a policy for people who have none of their own.
const everybody = "*"

// checkUser checks that a signed policy is that of a person, or everybody's, and
// returns its ETag.
func (a *Agent) checkUser(signed []byte, name string) (string, error) {
	doc, err := task.VerifyPolicy(signed, a.id.Site, a.id.policyKeys()...)
	if err != nil {
		return "", err
	}
	var body struct {
		Version int    `json:"version"`
		User    string `json:"user"`
	}
	if err := json.Unmarshal(doc.Body, &body); err != nil {
		return "", fmt.Errorf("policy: %w", err)
	}
	switch {
	case body.Version != 1:
		return "", fmt.Errorf("policy: version %d, this agent reads version 1", body.Version)
	case body.User != name && body.User != everybody:
		return "", fmt.Errorf("policy: of %q, where that of %q must be", cut(body.User, 80), cut(name, 80))
	}
	return doc.ETag(), nil
}

// userTag is the ETag of the policy that is kept of a person, "" without one.
func (a *Agent) userTag(name string) string {
	signed, err := readBounded(a.userPath(name), wire.MaxTransfer)
	if signed == nil || err != nil {
		return ""
	}
	tag, _ := a.checkUser(signed, name)
	return tag
}

// fetchUserPolicies fetches the policy of a person, or with "" of everybody who is
// signed in, and keeps them; it drops those of people who are long gone. What it
// returns is for people.
func (a *Agent) fetchUserPolicies(ctx context.Context, user string) (string, error) {
	names, err := a.people()
	if err != nil {
		return "", err
	}
	if user != "" {
		if !slices.Contains(names, user) {
			return cut(user, 80) + " is not signed in here", nil
		}
		names = []string{user}
	}
	if len(names) > 0 {
		if err := makeDir(filepath.Join(a.dir, usersFolder)); err != nil {
			return "", err
		}
	}
	var changed, none int
	var wrong error // with one of them, which is nothing to the others
	for _, name := range names {
		what, err := a.fetchUser(ctx, name)
		if ctx.Err() != nil {
			return "", fmt.Errorf("policy of %s: %w", name, ctx.Err())
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("policy of %s: %w", name, err))
			continue
		}
		switch what {
		case userChanged:
			changed++
		case userNone:
			none++
		}
	}
	a.forgetUsers()
	if wrong != nil {
		return "", wrong
	}
	return fmt.Sprintf("%d people signed in, %d policies changed, %d have none", len(names), changed, none), nil
}

type userOutcome uint8

const (
	userSame userOutcome = iota
	userChanged
	userNone
)

func (a *Agent) fetchUser(ctx context.Context, name string) (what userOutcome, err error) {
	tag, path := a.userTag(name), a.userPath(name)
	err = a.transfer(ctx, func() string { return tag }, name, func(_ *session, t *transfer) error {
		switch {
		case t.of == 0 && t.etag == "":
			what = userNone
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		case t.of > 0 && t.etag != tag:
			what = userChanged
			real, err := a.checkUser(t.signed, name)
			if err == nil && real != t.etag {
				err = fmt.Errorf("policy: named %q, it is %q", t.etag, real)
			}
			if err != nil {
				return err
			}
			if err := writeDurable(path, t.signed); err != nil {
				return err
			}
		}
		now := a.clock.stamp()
		return os.Chtimes(path, now, now)
	})
	return what, err
}

// forgetUsers drops the policies of people who are gone, and those over the limit
// that were seen longest ago, and tells whose are kept.
func (a *Agent) forgetUsers() {
	type file struct {
		path, name string
		seen       time.Time
	}
	var kept []file
	entries, _ := os.ReadDir(filepath.Join(a.dir, usersFolder))
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), policySuffix)
		name, known := userName(base)
		info, err := e.Info()
		if !ok || !known || err != nil || !info.Mode().IsRegular() {
			continue
		}
		kept = append(kept, file{filepath.Join(a.dir, usersFolder, e.Name()), name, info.ModTime()})
	}
	slices.SortFunc(kept, func(x, y file) int { return y.seen.Compare(x.seen) })
	now := a.clock.stamp()
	var names []string
	for i, f := range kept {
		if i < maxUsers && now.Sub(f.seen) <= forgetAfter {
			names = append(names, f.name)
		} else if err := os.Remove(f.path); err != nil {
			a.cfg.Log.Warn("policy of a person who is gone stays", "err", err)
		}
	}
	slices.Sort(names)
	a.status.update(func(s *Status) { s.Users = names })
}
