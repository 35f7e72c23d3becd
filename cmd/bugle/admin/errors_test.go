package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/console"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{&ExitError{3, errors.New("x")}, 3},
		{fmt.Errorf("y: %w", usage("x")), 2},
		{&pflag.NotExistError{}, 2},
		{&ExitError{codeFailed, errors.New("x")}, 1},
		{&ExitError{codePartly, errors.New("x")}, 3},
		{errors.New(`unknown command "x" for "bugle"`), 2},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("ExitCode(%v) is %d, want %d", c.err, got, c.want)
		}
	}
	if cause := errors.New("x"); !errors.Is(&ExitError{3, cause}, cause) {
		t.Error("an ExitError hides its cause")
	}
}

// wrongCalls end with code 2 before anything is asked of the site.
var wrongCalls = []string{
	"nonsense",
	"ops",
	"ops nonsense",
	"ops show",
	"ops show " + opID + " more",
	"ops show 4711",
	"ops watch " + opID + " --timeout -1s",
	"ops devices " + opID + " --state broken",
	"ops list --limit -1",
	"ops list --nonsense",
	"ops list -o xml",
	"ops list --limit",
	"ops list --limit many",
	"push",
	"push scan.quick",
	"push scan.quick --all --device 1",
	"push scan.quick --all --param x",
	"push scan.quick --all --deliver-by soon",
	"push scan.quick --all --deliver-by -1h",
	"push scan.quick --all --deliver-by 0d",
	"push scan.quick --all --deliver-by 99999999999d",
	"push scan.quick --all --deliver-by 1500ms",
	"push scan.quick --all --run-timeout 1ms",
	"push scan.quick --all --run-timeout -1m",
	"push scan.quick --all --dry-run --watch",
	"push scan.quick --all --timeout 1m",
	"push scan.quick --all --idempotency-key ü",
	"devices list --online --offline",
	"devices block",
	"devices show",
	"token create --ttl 1ms",
	"token create --uses 0",
	"token create x",
	"journal show zero",
	"journal show 0",
	"journal tail -n -1",
	"journal tail -n 10001",
	"journal tail --from soon",
	"journal tail --from 0",
	"journal tail --from -5",
	"journal tail --from -2h",
	"journal tail --to 2026-12-24",
	"journal tail --to 1h -f",
	"journal tail --actor nobody:admin",
	"journal tail --actor local:",
	"journal tail --operation 4711",
	"journal export --format xml",
	"journal export --format archiv",
	"journal export --output json",
	"journal export -o csv",
	"journal export --force",
	"journal export --format archive",
	"journal export --format archive --output x --kind device.",
	"journal export --format archive --output x --changes",
	"journal export --offline x",
	"journal export --format archive --output x --offline y --from 2h",
	"journal export --from x --to y",
	"journal export more",
	"journal verify --archive a --offline b",
	"journal verify --archive a --from b",
	"journal verify --archive a --key nonsense",
	"replay --to soon --view device",
	"replay --to 0 --view device",
	"replay --to 1 --view x",
	"replay --to 1 --view device -o csv",
	"journal consistency",
	"journal consistency a b c",
	"journal consistency a",
	"journal consistency a --key nonsense",
	"journal consistency a --key k -o table",
	"journal check a --older b --key k",
	"devices list --at soon",
	"devices show 1 --at 0",
	"ops list --at -1h",
	"ops show " + opID + " --at x",
	"ops devices " + opID + " --at x",
	"trace " + opID + " --at x",
	"status components --at x",
	"status messages --at x",
	"inbox status --at x",
	"policy show --at x",
	"views digest --at x",
	"views rollback",
	"views rollback a b",
	"journal tail --from 1 -n 5 -f",
	"status messages --severity fatal",
	"journal tail -f -o json",
	"policy set",
	"policy set x",
	"policy set keepAlive=5",
	"policy set keepAliveSeconds=soon",
	"policy set keepAliveSeconds=-5",
	"policy set keepAliveSeconds+=5",
	"policy set indicators+=",
	"views digest a b",
	"views rebuild",
	"--url https://x:1 ops list",
	"trace x",
	"push scan.quick --all --not-before soon",
	"push scan.quick --all --priority 4",
	"push scan.quick --all --wave 5%,,",
	"push scan.quick --all --spread fast",
	"push scan.quick --all --spread 1500ms",
	"push scan.quick --all --rate 0",
	"push scan.quick --all --rate 5/m",
	"push scan.quick --all --stop-on-failure 100%",
	"push scan.quick --all --stop-on-failure some",
	"push scan.quick --all --retry-of x",
	"ops retry",
	"ops retry " + opID,
	"ops retry x --only failed",
	"ops retry " + opID + " --only broken",
	"ops retry " + opID + " --only failed --dry-run --watch",
	"ops retry " + opID + " --only failed --deliver-by soon",
	"ops retry " + opID + " --only failed --timeout 5s",
	"keys",
	"keys list x",
	"keys rotate",
	"keys rotate head",
	"keys retire",
	"listeners revoke",
	"token create --scope 1",
	"token create --listener BGL01 --uses 2",
	"token create --device 7 --uses 2",
	"token create --device 7 --listener BGL01",
	"token list x",
	"devices history",
	"devices history 1 --at x",
	"kinds a b",
	"status messages --explain x",
	"ops logs",
	"ops logs x",
	"ops logs " + opID + " --force",
	"ops retry " + opID + " --only failed --run-timeout -1s",
	"policy set windows=7",
	"policy set windows+=[]",
	"policy edit x",
	"policy user",
	"policy user show",
	"policy user show a b",
	"policy user show --default a",
	"policy user set ann",
	"policy user set ann {",
	"policy user set ann [] --if-version x",
	"policy user remove --default ann",
}

func TestWrongCalls(t *testing.T) {
	var all strings.Builder
	for _, args := range wrongCalls {
		s := site(t)
		r := run{}.on(s, strings.Fields(args)...)
		if r.code != codeUsage || len(s.called()) > 0 {
			t.Errorf("bugle %s ends with code %d after calls %q", args, r.code, s.called())
		}
		if r := (run{}).bugle(append([]string{"--data", t.TempDir()}, strings.Fields(args)...)...); r.code != codeUsage {
			t.Errorf("without a site bugle %s ends with code %d", args, r.code)
		}
		fmt.Fprintf(&all, "$ bugle %s\n%v\n\n", args, r.err)
	}
	golden(t, "wrong-calls", all.String())
}

func TestWhatTheSiteRefuses(t *testing.T) {
	unknown := refuse(422, "The kind is unknown", `kind: there is no "scan.slow"; there are policy.machine, scan.quick.`)
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathOperations: unknown,
		"GET " + console.PathDevice:      refuse(404, "There is no such thing", "There is no device \"pc\x1b[2J\"."),
		"GET " + console.PathJournal:     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		"GET " + console.PathViews:       func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"GET " + console.PathPolicy:      http.RedirectHandler("https://elsewhere.invalid/", http.StatusFound).ServeHTTP,
		"POST " + console.PathViewRebuild: serverSent("event: progress\ndata: {\"done\":10,\"total\":25}",
			"event: problem\ndata: {\"title\":\"The server failed\",\"status\":500,\"detail\":\"Cannot rebuild.\"}"),
	})
	var all strings.Builder
	for _, args := range []string{
		"push scan.slow --all --yes", "push scan.slow --all", "devices show pc", "devices block pc 7", "journal head",
		"views list", "policy show", "views rebuild presence", "ops cancel " + opID,
	} {
		if strings.HasPrefix(args, "ops cancel") {
			s = newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperationCancel: refuse(409, "It cannot be done now", "")})
		}
		r := run{}.on(s, strings.Fields(args)...)
		if r.code == 0 {
			t.Errorf("bugle %s ends with code 0", args)
		}
		fmt.Fprintf(&all, "$ bugle %s\n%s\n", args, r.text(s))
	}
	golden(t, "refused", all.String())
}

func TestNoSite(t *testing.T) {
	empty := t.TempDir()
	closed := newFakeSite(t, nil)
	closed.server.Close()
	plainHTTP := newFakeSite(t, nil)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	plainHTTP.write("run/addresses.json", fmt.Sprintf(`{"console":%q}`, other.Listener.Addr().String()))
	broken := newFakeSite(t, nil)
	broken.write("run/addresses.json", `{"console":`)
	noConsole := newFakeSite(t, nil)
	noConsole.write("run/addresses.json", `{"tcp":"127.0.0.1:1"}`)
	noToken := newFakeSite(t, nil)
	os.Remove(filepath.Join(noToken.data, "keys/admin.token"))
	emptyToken := newFakeSite(t, nil)
	emptyToken.write("keys/admin.token", "\n")
	twoTokens := newFakeSite(t, nil)
	twoTokens.write("keys/admin.token", "one\ntwo\n")
	badCA := newFakeSite(t, nil)
	badCA.write("keys/ca.crt", "nonsense")
	wrongToken := newFakeSite(t, nil)
	wrongToken.write("keys/admin.token", "wrong")
	for _, c := range []struct {
		name, data string
		words      []string // in the error
	}{
		{"nothing there", empty, []string{"none runs with the folder " + empty, "bugle serve --data " + empty, "BUGLE_URL"}},
		{"site ended", closed.data, []string{"nothing listens there", "bugle serve --data " + closed.data, closed.host()}},
		{"no TLS", plainHTTP.data, []string{"server gave HTTP response", "look whether it runs"}},
		{"addresses damaged", broken.data, []string{"addresses.json is damaged", "start the site again"}},
		{"no console", noConsole.data, []string{"names no console"}},
		{"no token", noToken.data, []string{"read administrator's token", "admin.token"}},
		{"empty token", emptyToken.data, []string{"holds 0 characters"}},
		{"two tokens", twoTokens.data, []string{"holds more than a token"}},
		{"bad CA", badCA.data, []string{"holds no certificate in PEM"}},
		{"wrong token", wrongToken.data, []string{"does not show the right token; the file", "is not this site's"}},
	} {
		r := run{}.bugle("--data", c.data, "ops", "list")
		if r.code != codeFailed || r.stdout != "" {
			t.Errorf("%s: code %d, output %q", c.name, r.code, r.stdout)
		}
		for _, w := range c.words {
			if r.err == nil || !strings.Contains(r.err.Error(), w) {
				t.Errorf("%s: error %q does not say %q", c.name, r.err, w)
			}
		}
	}
}

func TestRemoteSite(t *testing.T) {
	s := site(t)
	token, ca := filepath.Join(s.data, "keys/admin.token"), filepath.Join(s.data, "keys/ca.crt")
	address := "https://" + s.host()
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		word string
	}{
		{"flags", nil, []string{"--url", address, "--token-file", token, "--ca-file", ca}, 0, ""},
		{"environment", map[string]string{"BUGLE_URL": address + "/", "BUGLE_TOKEN_FILE": token, "BUGLE_CA_FILE": ca}, nil, 0, ""},
		{"address wins over a folder", map[string]string{"BUGLE_URL": address, "BUGLE_TOKEN_FILE": token, "BUGLE_CA_FILE": ca, "BUGLE_DATA": "/nowhere"}, nil, 0, ""},
		{"folder in a flag wins", map[string]string{"BUGLE_URL": "https://nowhere.invalid", "BUGLE_TOKEN_FILE": "/nowhere"}, []string{"--data", s.data}, 0, ""},
		{"folder in the environment", map[string]string{"BUGLE_DATA": s.data, "BUGLE_TOKEN_FILE": "/nowhere"}, nil, 0, ""},
		{"without a CA", nil, []string{"--url", address, "--token-file", token}, 1, "--ca-file"},
		{"without a token", nil, []string{"--url", address}, 2, "BUGLE_TOKEN_FILE"},
		{"without TLS", nil, []string{"--url", "http://" + s.host(), "--token-file", token}, 2, "https://"},
		{"no address", nil, []string{"--url", "://", "--token-file", token}, 2, "https://"},
		{"another name", nil, []string{"--url", "https://localhost:" + strings.Split(s.host(), ":")[1], "--token-file", token, "--ca-file", ca}, 1, "for another name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			r := run{}.bugle(append(c.args, "journal", "head")...)
			if r.code != c.code || r.err != nil && !strings.Contains(r.err.Error(), c.word) {
				t.Errorf("code %d, error %v", r.code, r.err)
			}
		})
	}
}

func TestEverythingListensOnEveryAddress(t *testing.T) {
	for console, want := range map[string]string{
		"0.0.0.0:8443": "127.0.0.1:8443", "[::]:8443": "[::1]:8443", ":8443": "127.0.0.1:8443",
		"192.0.2.7:8443": "192.0.2.7:8443", "site.example:8443": "site.example:8443",
	} {
		s := newFakeSite(t, nil)
		s.write("run/addresses.json", fmt.Sprintf(`{"console":%q}`, console))
		if got, err := readAddress(s.data); got != want || err != nil {
			t.Errorf("console at %s is reached at %s, %v; want %s", console, got, err, want)
		}
	}
}

func TestOutputFromTheEnvironment(t *testing.T) {
	t.Setenv("BUGLE_OUTPUT", "csv")
	if r := (run{}).on(site(t), "journal", "head"); !strings.HasPrefix(r.stdout, "events,pages,head\n") {
		t.Errorf("output is %q", r.stdout)
	}
	if r := (run{}).on(site(t), "journal", "head", "-o", "json"); !strings.HasPrefix(r.stdout, "{") {
		t.Errorf("the flag does not win: %q", r.stdout)
	}
	t.Setenv("BUGLE_OUTPUT", "xml")
	if r := (run{}).on(site(t), "journal", "head"); r.code != codeUsage {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

func TestInterruptedCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// The handler must not return: its empty answer may overtake the end of the
	// connection.
	stay := func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		hangUp(w, r)
	}
	s := newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathJournal: stay})
	if r := (run{ctx: ctx}).on(s, "journal", "head"); r.code != codeFailed || r.err.Error() != "interrupted" {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	p := &printer{w: failingWriter{}, format: "table"}
	p.fields([]field{{"A", "a", 1}})
	if p.err == nil {
		t.Error("the error of the writer is lost")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }
