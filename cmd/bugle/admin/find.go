package admin

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
)

// A location is how a site is reached, and the words for where that is.
type location struct {
	base  *url.URL
	token string
	roots *x509.CertPool // nil means those of the system
	local bool
	data  string // of a local site
}

// maxSmall bounds the files that are read: addresses, tokens, certificates.
const maxSmall = 1 << 20

// find tells where the site is. A flag wins over the environment; a remote
// address there wins over a folder there.
func (o *Options) find() (*location, error) {
	if o.given("url") && o.given("data") {
		return nil, usage("--url names a remote site and --data one on this machine: give one of them")
	}
	if address := cmp.Or(o.URL, os.Getenv("BUGLE_URL")); address != "" && !o.given("data") {
		return o.findRemote(address)
	}
	return o.findLocal(o.DataFolder())
}

func (o *Options) findRemote(address string) (*location, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, usage("address of the site (--url or BUGLE_URL): %q is not like https://bugle.example.com:8443", address)
	}
	file := cmp.Or(o.TokenFile, os.Getenv("BUGLE_TOKEN_FILE"))
	if file == "" {
		return nil, usage("site %s needs an administrator's token: name its file with --token-file or BUGLE_TOKEN_FILE", address)
	}
	l := &location{base: base}
	if l.token, err = readToken(file); err != nil {
		return nil, err
	}
	if ca := cmp.Or(o.CAFile, os.Getenv("BUGLE_CA_FILE")); ca != "" {
		l.roots, err = readCA(ca)
	}
	return l, err
}

// findLocal does not take files from the environment: they are those of the
// remote site that BUGLE_URL names.
func (o *Options) findLocal(data string) (*location, error) {
	host, err := readAddress(data)
	if err != nil {
		return nil, err
	}
	l := &location{base: &url.URL{Scheme: "https", Host: host}, local: true, data: data}
	if l.token, err = readToken(cmp.Or(o.TokenFile, filepath.Join(data, "keys", "admin.token"))); err != nil {
		return nil, err
	}
	l.roots, err = readCA(cmp.Or(o.CAFile, filepath.Join(data, "keys", "ca.crt")))
	if err == nil && o.CAFile == "" {
		err = addLaterCAs(l.roots, filepath.Join(data, "keys"))
	}
	return l, err
}

// addLaterCAs adds the authorities that took over from the first one: once that is
// retired, the console has a certificate of the newest. Nobody but who may read the
// site's keys can put a file there.
func addLaterCAs(roots *x509.CertPool, keys string) error {
	names, err := filepath.Glob(filepath.Join(keys, "ca-*.crt"))
	if err != nil {
		return fmt.Errorf("find certificates of later CAs: %w", err)
	}
	for _, name := range names {
		b, err := readSmall(name)
		if err != nil {
			return fmt.Errorf("read certificate of the CA: %w", readable(err))
		}
		roots.AppendCertsFromPEM(b) // a crash may have left half of one, which is not in use
	}
	return nil
}

// readAddress reads where the console of the site in folder data listens.
func readAddress(data string) (string, error) {
	name := filepath.Join(data, "run", "addresses.json")
	b, err := readSmall(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find site: none runs with the folder %s (there is no %s): start one with 'bugle serve --data %s', name its folder with --data or BUGLE_DATA, or a remote site with --url or BUGLE_URL", data, name, data)
	}
	if err != nil {
		return "", fmt.Errorf("find site: %w", readable(err))
	}
	var a struct {
		Console string `json:"console"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return "", fmt.Errorf("find site: %s is damaged (%w): start the site again, it writes the file anew", name, err)
	}
	host, port, err := net.SplitHostPort(a.Console)
	if err != nil {
		return "", fmt.Errorf("find site: %s names no console: start the site again, it writes the file anew", name)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

func readToken(name string) (string, error) {
	b, err := readSmall(name)
	if err != nil {
		return "", fmt.Errorf("read administrator's token: %w", readable(err))
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 || len(b) > 4096 {
		return "", fmt.Errorf("read administrator's token: %s holds %d characters, which is no token", name, len(b))
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("read administrator's token: %s holds more than a token", name)
		}
	}
	return string(b), nil
}

func readCA(name string) (*x509.CertPool, error) {
	b, err := readSmall(name)
	if err != nil {
		return nil, fmt.Errorf("read certificate of the CA: %w", readable(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read certificate of the CA: %s holds no certificate in PEM", name)
	}
	return pool, nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(b) > maxSmall {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxSmall)
	}
	return b, err
}

// readable adds what to do to an error of opening a file.
func readable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run the command as the user whose site it is", err)
	}
	return err
}
