package backup

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// Errors that a caller may tell apart.
var (
	ErrNone       = errors.New("there is no backup")
	ErrUnfinished = errors.New("the backup was never finished")
	ErrForeign    = errors.New("the folder is not a backup")
	ErrOther      = errors.New("the backup is of another site")
	ErrDamaged    = errors.New("the backup is damaged")
	ErrVersion    = errors.New("the backup was made by a later version")
	ErrKey        = errors.New("the key does not match")
	ErrNotEmpty   = errors.New("the folder is not empty")
	ErrInside     = errors.New("the folder lies in the one that is copied")
)

// A Manifest says what belongs to a backup.
type Manifest struct {
	Site   string       // its code
	Origin string       // of its checkpoints; it holds the history's name
	Head   journal.Head // where the copied history ends
	Root   tlog.Hash    // of the tree over its pages
	Made   time.Time    // UTC, whole seconds
	By     string       // who made it, USER@HOST
	Bugle  string       // version of the program
	Set    uint32       // number of the set with the files that change
	Files  []File
}

// A File is one file of a backup.
type File struct {
	Name   string // where it belongs in the site's folder, with slashes
	Stored string // where it is in the backup, with slashes
	Size   int64  // of which so many bytes from the beginning count
	Digest [32]byte
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// file returns the file that belongs in a place.
func (m *Manifest) file(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// The manifest as JSON.
type (
	manifestJSON struct {
		Version int        `json:"version"`
		Site    string     `json:"site"`
		Origin  string     `json:"origin"`
		Events  uint64     `json:"events"`
		Pages   uint64     `json:"pages"`
		Head    string     `json:"head"`
		Root    string     `json:"root"`
		Made    time.Time  `json:"made"`
		By      string     `json:"by"`
		Bugle   string     `json:"bugle"`
		Set     uint32     `json:"set"`
		Files   []fileJSON `json:"files"`
	}
	fileJSON struct {
		Name   string `json:"name"`
		Stored string `json:"stored"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	}
)

const (
	manifestVersion = 1
	manifestTitle   = "bugle backup"
	maxManifest     = 256 << 20 // bytes; a million files
	maxFiles        = 1 << 20
)

func (m *Manifest) encode() []byte {
	j := manifestJSON{Version: manifestVersion, Site: m.Site, Origin: m.Origin, Events: m.Head.Event, Pages: m.Head.Pages,
		Head: hex.EncodeToString(m.Head.Hash[:]), Root: m.Root.String(), Made: m.Made.UTC(), By: m.By, Bugle: m.Bugle, Set: m.Set,
		Files: make([]fileJSON, len(m.Files))}
	for i, f := range m.Files {
		j.Files[i] = fileJSON{f.Name, f.Stored, f.Size, hex.EncodeToString(f.Digest[:])}
	}
	b, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		panic("backup: encode manifest: " + err.Error()) // it has nothing that JSON cannot say
	}
	return fmt.Appendf(nil, "%s v%d\n%s\n", manifestTitle, manifestVersion, b)
}

// sign returns the manifest as a signed note.
func (m *Manifest) sign(key ed25519.PrivateKey) ([]byte, error) {
	v, err := noteVerifier(m.Origin, publicOf(key))
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(m.encode())}, noteSigner{v, key})
}

type noteSigner struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s noteSigner) Sign(text []byte) ([]byte, error) { return ed25519.Sign(s.key, text), nil }

func noteVerifier(origin string, key ed25519.PublicKey) (note.Verifier, error) {
	s, err := tree.VerifierKey(origin, key)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(s)
}

// parseManifest reads a manifest without looking at its signature.
func parseManifest(text []byte) (*Manifest, error) {
	title, rest, _ := bytes.Cut(text, []byte("\n"))
	version, ok := strings.CutPrefix(string(title), manifestTitle+" v")
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: MANIFEST is none", ErrDamaged)
	case version != fmt.Sprint(manifestVersion):
		return nil, fmt.Errorf("%w: version %.20q, this bugle reads %d", ErrVersion, version, manifestVersion)
	}
	var j manifestJSON
	if err := json.NewDecoder(bytes.NewReader(rest)).Decode(&j); err != nil || len(j.Files) > maxFiles {
		return nil, fmt.Errorf("%w: MANIFEST cannot be read", ErrDamaged)
	}
	m, err := j.manifest()
	if err != nil {
		return nil, fmt.Errorf("%w: MANIFEST: %w", ErrDamaged, err)
	}
	if !bytes.HasPrefix(text, append(m.encode(), '\n')) {
		return nil, fmt.Errorf("%w: MANIFEST is not spelled as it was written", ErrDamaged)
	}
	return m, nil
}

func (j *manifestJSON) manifest() (*Manifest, error) {
	m := &Manifest{Site: j.Site, Origin: j.Origin, Made: j.Made, By: j.By, Bugle: j.Bugle, Set: j.Set}
	hash, err := digest(j.Head)
	if err != nil {
		return nil, err
	}
	m.Head = journal.Head{Event: j.Events, Pages: j.Pages, Hash: hash}
	if m.Root, err = tlog.ParseHash(j.Root); err != nil {
		return nil, errors.New("the root is malformed")
	}
	if j.Pages == 0 || j.Events < j.Pages {
		return nil, fmt.Errorf("%d events in %d pages", j.Events, j.Pages)
	}
	seen := map[string]bool{}
	for _, f := range j.Files {
		d, err := digest(f.SHA256)
		switch {
		case err != nil:
			return nil, err
		case !validName(f.Name) || !validStored(f.Stored) || f.Size < 0 || seen[f.Name]:
			return nil, fmt.Errorf("file %.100q, stored in %.100q, is not one that a backup has", f.Name, f.Stored)
		}
		seen[f.Name] = true
		m.Files = append(m.Files, File{f.Name, f.Stored, f.Size, d})
	}
	return m, nil
}

func digest(s string) (d [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, errors.New("a hash is malformed")
	}
	return [32]byte(b), nil
}

// Names of what is no plain copy.
const (
	namePages      = "journal/pages" // those behind the last archive
	nameCheckpoint = "journal/tree/checkpoint"
	nameHeadKey    = "keys/head.key"
	folderArchive  = "journal/archive"
)

// validName tells whether a file may belong in that place of a site's folder.
func validName(name string) bool {
	if !local(name) {
		return false
	}
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "keys", "inboxes":
		return strings.Contains(name, "/")
	}
	return name == namePages || name == nameCheckpoint || path.Dir(name) == folderArchive
}

func validStored(name string) bool {
	if !local(name) {
		return false
	}
	switch top, rest, _ := strings.Cut(name, "/"); top {
	case setsFolder, archiveFolder, pagesFolder:
		return rest != ""
	}
	return false
}

// local takes no name that JSON would spell in another way.
func local(name string) bool {
	return name != "" && utf8.ValidString(name) && path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsAny(name, "\\:\x00")
}

// readManifest reads the manifest of the backup in dir, without looking at its
// signature, and returns its text too.
func readManifest(dir string) (*Manifest, []byte, error) {
	text, err := readSmall(filepath.Join(dir, manifestFile), maxManifest)
	if err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(text)
	return m, text, err
}

// openManifest checks that key signed the text of a manifest.
func openManifest(m *Manifest, text []byte, key ed25519.PublicKey) error {
	v, err := noteVerifier(m.Origin, key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	n, err := note.Open(text, note.VerifierList(v))
	var unknown *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: MANIFEST is not signed by it", ErrKey)
	case err != nil:
		return fmt.Errorf("%w: the signature of MANIFEST does not hold", ErrDamaged)
	case n.Text != string(m.encode()):
		return fmt.Errorf("%w: MANIFEST holds more than was signed", ErrDamaged)
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64); err != nil {
		return fmt.Errorf("%w: the signature of MANIFEST does not hold", ErrDamaged)
	}
	return nil
}

// readHeadKey reads the key that signs checkpoints and manifests.
func readHeadKey(name string) (ed25519.PrivateKey, error) {
	b, err := readSmall(name, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("read head key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read head key: %s holds no PEM", name)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read head key %s: %w", name, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read head key: %s is not an Ed25519 key", name)
	}
	return key, nil
}

// readSmall reads a file of at most so many bytes.
func readSmall(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return b, err
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }
