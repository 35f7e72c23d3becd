package action

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const maxNamed = 100 // threats or paths that one task names

// threats does what is about malware besides looking for it: the rules hold for the
// built-in scanner and for ClamAV; Microsoft Defender keeps its own, which are
// changed by its own program.
type threats struct {
	sys     *system
	keep    *protection
	scanner *scanner
}

// byDefender tells whether Defender is this machine's scanner.
func (t *threats) byDefender() bool { return t.scanner != nil && t.scanner.findings == nil }

func (t *threats) definitions(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	if t.byDefender() {
		return t.do(ctx, command{path: t.scanner.path, args: []string{"-SignatureUpdate"}}, "Defender fetched its definitions")
	}
	path, ok := t.sys.has("freshclam")
	if !ok {
		return notHere("this machine has no scanner that fetches definitions: neither ClamAV's freshclam nor Microsoft Defender; the built-in scanner takes its indicators from policy")
	}
	e, err := t.sys.run(ctx, command{path: path, args: freshclamArgv()})
	switch {
	case err != nil:
		return failed(err)
	case strings.Contains(e.output+e.errors, "locked by another process"):
		return failed(errors.New("freshclam runs as a service here and fetches definitions by itself; it lets nobody else"))
	case e.code != 0:
		return e.unexpected("freshclam")
	}
	return Outcome{State: task.Succeeded, Detail: "freshclam: " + lastLine(e.output)}
}

func freshclamArgv() []string { return []string{"--stdout", "--no-warnings"} }

func lastLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 0 {
		return "done"
	}
	return cut(lines[len(lines)-1], 512)
}

func (t *threats) exclude(ctx context.Context, req Request) Outcome {
	var p struct {
		Paths  []string `json:"paths"`
		Remove bool     `json:"remove"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if err := checkPaths(t.sys.goos, p.Paths); err != nil {
		return refused(err)
	}
	if t.byDefender() {
		return t.do(ctx, powershell(excludeScript(p.Paths, p.Remove)), "Defender's exclusions are changed")
	}
	return t.change(func(r *rules) { r.Excluded = with(r.Excluded, p.Paths, p.Remove) }, count(len(p.Paths), "path", p.Remove, "excluded"))
}

// count says how many were taken in or out.
func count(n int, what string, out bool, done string) string {
	if n != 1 {
		what += "s"
	}
	if out {
		done = "no longer " + done
	}
	return fmt.Sprintf("%d %s %s", n, what, done)
}

func checkPaths(goos string, paths []string) error {
	if len(paths) == 0 || len(paths) > maxNamed {
		return fmt.Errorf("parameters: paths: %d are named, 1 to %d are taken", len(paths), maxNamed)
	}
	for _, path := range paths {
		if err := checkPath(goos, path); err != nil {
			return fmt.Errorf("parameters: paths: %w", err)
		}
	}
	return nil
}

var windowsPath = regexp.MustCompile(`^[A-Za-z]:\\[^\x00-\x1f"*/:<>?|]*$`)

// checkPath takes full paths in their shortest form only: what is excluded must be
// what is read.
func checkPath(goos, path string) error {
	bad := fmt.Errorf("%q is not a full path in its shortest form", cut(path, 80))
	switch {
	case len(path) > 1024 || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad
	case goos == "windows":
		if !windowsPath.MatchString(path) || slices.Contains(strings.Split(path, `\`), "..") {
			return bad
		}
		return nil
	case !strings.HasPrefix(path, "/") || runtime.GOOS != "windows" && filepath.Clean(path) != path:
		return bad
	}
	return nil
}

var threatName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/!-]{0,127}$`)

func checkThreats(threats []string) error {
	if len(threats) == 0 || len(threats) > maxNamed {
		return fmt.Errorf("parameters: threats: %d are named, 1 to %d are taken", len(threats), maxNamed)
	}
	for _, threat := range threats {
		if !threatName.MatchString(threat) {
			return fmt.Errorf("parameters: threats: %q is not a SHA-256, nor the name or number of a threat", cut(threat, 80))
		}
	}
	return nil
}

func (t *threats) allow(ctx context.Context, req Request) Outcome {
	var p struct {
		Threats []string `json:"threats"`
		Remove  bool     `json:"remove"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if err := checkThreats(p.Threats); err != nil {
		return refused(err)
	}
	act := "allow"
	if p.Remove {
		act = "default"
	}
	return t.split(ctx, p.Threats, act,
		func(r *rules, own []string) { r.Allowed = with(r.Allowed, own, p.Remove) },
		count(len(p.Threats), "threat", p.Remove, "allowed"))
}

func (t *threats) override(ctx context.Context, req Request) Outcome {
	var p struct {
		Threats []string `json:"threats"`
		Action  string   `json:"action"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if err := checkThreats(p.Threats); err != nil {
		return refused(err)
	}
	if !slices.Contains([]string{actReport, actQuarantine, actRemove, "default"}, p.Action) {
		return refused(fmt.Errorf("parameters: action: %q is not report, quarantine, remove or default", cut(p.Action, 80)))
	}
	return t.split(ctx, p.Threats, p.Action, func(r *rules, own []string) {
		for _, threat := range own {
			delete(r.Overrides, threat)
			if p.Action != "default" {
				r.Overrides[threat] = p.Action
			}
		}
	}, fmt.Sprintf("%s: %s", count(len(p.Threats), "threat", false, "overridden"), p.Action))
}

// split changes the agent's own rules for the threats that its scanner knows, and
// Defender's for those that are Defender's.
func (t *threats) split(ctx context.Context, all []string, act string, edit func(*rules, []string), detail string) Outcome {
	var own, theirs []string
	for _, threat := range all {
		if _, err := ParseDigest(threat); err == nil || !t.byDefender() {
			own = append(own, threatKey(threat))
		} else {
			theirs = append(theirs, threat)
		}
	}
	if len(own) > 0 {
		if o := t.change(func(r *rules) { edit(r, own) }, detail); o.State != task.Succeeded || len(theirs) == 0 {
			return o
		}
	}
	script, err := actionScript(theirs, act)
	if err != nil {
		return refused(err)
	}
	return t.do(ctx, powershell(script), detail)
}

func (t *threats) restore(ctx context.Context, req Request) Outcome {
	var p struct {
		Threats []string `json:"threats"`
		Allow   bool     `json:"allow"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if err := checkThreats(p.Threats); err != nil {
		return refused(err)
	}
	keys := make([]string, len(p.Threats))
	for i, threat := range p.Threats {
		keys[i] = threatKey(threat)
	}
	if p.Allow {
		if o := t.split(ctx, p.Threats, "allow", func(r *rules, own []string) { r.Allowed = with(r.Allowed, own, false) }, ""); o.State != task.Succeeded {
			return o
		}
	}
	if o, done := t.restoreDefender(ctx, p.Threats); done {
		return o
	}
	back, problems, err := t.keep.restore(ctx, keys)
	switch {
	case errors.Is(err, errNoState):
		return notHere("%s", err)
	case err != nil:
		return failed(err)
	case len(problems) > 0:
		return failed(fmt.Errorf("%d put back, %d not: %s", len(back), len(problems), oneLine(errors.Join(problems...).Error())))
	case len(back) == 0:
		return notHere("none of these threats is in quarantine here")
	}
	return Outcome{State: task.Succeeded, Detail: cut(fmt.Sprintf("%d put back: %s", len(back), strings.Join(back, "; ")), task.MaxDetail-256)}
}

// restoreDefender lets Defender put back what it quarantined; done is false if these
// are threats of the built-in scanner.
func (t *threats) restoreDefender(ctx context.Context, threats []string) (o Outcome, done bool) {
	for _, threat := range threats {
		if _, err := ParseDigest(threat); err == nil || !t.byDefender() {
			continue
		}
		done = true
		o = t.do(ctx, command{path: t.scanner.path, args: []string{"-Restore", "-Name", threat, "-All"}}, "Defender put back what it had quarantined")
		if o.State != task.Succeeded {
			return o, true
		}
	}
	return o, done
}

func (t *threats) change(edit func(*rules), detail string) Outcome {
	err := t.keep.change(edit)
	switch {
	case errors.Is(err, errNoState):
		return notHere("%s", err)
	case err != nil:
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

// do runs a program that ends with code 0 if all is well.
func (t *threats) do(ctx context.Context, c command, detail string) Outcome {
	e, err := t.sys.run(ctx, c)
	switch {
	case err != nil:
		return failed(err)
	case e.code != 0:
		return e.unexpected(programName(c.path))
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

func programName(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

const powershellPath = `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`

// powershell gives the script as the base64 of its UTF-16, so that nothing on the way
// reads quotes in it.
func powershell(script string) command {
	var raw []byte
	for _, u := range utf16.Encode([]rune("$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue';" + script)) {
		raw = append(raw, byte(u), byte(u>>8))
	}
	return command{path: powershellPath, args: []string{"-NoLogo", "-NoProfile", "-NonInteractive", "-EncodedCommand",
		base64.StdEncoding.EncodeToString(raw)}}
}

// quote makes a PowerShell string of a text: between single quotes nothing is
// special but what PowerShell takes for one, typographic ones included.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		if r == '\'' || r >= '\u2018' && r <= '\u201b' {
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

func quoteAll(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, ",")
}

func excludeScript(paths []string, remove bool) string {
	if remove {
		return "Remove-MpPreference -ExclusionPath " + quoteAll(paths)
	}
	return "Add-MpPreference -ExclusionPath " + quoteAll(paths)
}

// defenderActions are what Defender calls what is done with a threat.
var defenderActions = map[string]string{"allow": "Allow", actReport: "NoAction", actQuarantine: "Quarantine", actRemove: "Remove"}

var threatNumber = regexp.MustCompile(`^[0-9]{1,12}$`)

func actionScript(threats []string, act string) (string, error) {
	var scripts []string
	for _, threat := range threats {
		if !threatNumber.MatchString(threat) {
			return "", fmt.Errorf("parameters: threats: %q is not a number, and Defender knows threats by number only here", cut(threat, 80))
		}
		if act == "default" {
			scripts = append(scripts, "Remove-MpPreference -ThreatIDDefaultAction_Ids "+threat)
			continue
		}
		scripts = append(scripts, "Add-MpPreference -ThreatIDDefaultAction_Ids "+threat+" -ThreatIDDefaultAction_Actions "+defenderActions[act])
	}
	return strings.Join(scripts, ";"), nil
}
