package fleet

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// The file of identities has one JSON object on each line: first what all agents
// have in common, then one line for each agent.
//
//	{"version":1,"site":"P01","authority":DER,"taskKeys":[KEY],"listeners":["HOST:PORT"]}
//	{"device":1,"key":SCALAR,"certificate":DER,"resultKey":KEY}
//
// What is in capitals is base64, as encoding/json writes bytes. A reader refuses
// another version.
const fileVersion = 1

// Bounds of the file.
const (
	maxIdentities = 200_000
	maxLine       = 64 << 10
)

// A header is the first line.
type header struct {
	Version   int      `json:"version"`
	Site      string   `json:"site"`
	Authority []byte   `json:"authority"` // certificate in DER
	TaskKeys  [][]byte `json:"taskKeys"`
	Listeners []string `json:"listeners"` // as the site told the first agent
}

// An identity is one agent's line.
type identity struct {
	Device      uint32 `json:"device"`
	Key         []byte `json:"key"`         // scalar of the ECDSA P-256 key
	Certificate []byte `json:"certificate"` // in DER
	ResultKey   []byte `json:"resultKey"`   // of task.ResultKey

	shown tls.Certificate
}

// identities are all agents of a fleet.
type identities struct {
	header
	all []identity
}

// ready checks an identity and makes of it what the handshake shows.
func (i *identity) ready(site string) error {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), i.Key)
	if err != nil {
		return fmt.Errorf("key of device %d: %w", i.Device, err)
	}
	cert, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		return fmt.Errorf("certificate of device %d: %w", i.Device, err)
	}
	who, err := wire.IdentityOf(cert)
	if err != nil {
		return fmt.Errorf("certificate of device %d: %w", i.Device, err)
	}
	if who.Site != site || who.Device != i.Device || !key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("certificate of device %d: is another's: %s", i.Device, who.URI())
	}
	if len(i.ResultKey) == 0 || len(i.ResultKey) > 64 {
		return fmt.Errorf("result key of device %d: %d bytes", i.Device, len(i.ResultKey))
	}
	i.shown = tls.Certificate{Certificate: [][]byte{i.Certificate}, PrivateKey: key}
	return nil
}

// read reads what write wrote.
func read(r io.Reader) (*identities, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	ids := new(identities)
	for n := 0; lines.Scan(); n++ {
		if n == 0 {
			if err := json.Unmarshal(lines.Bytes(), &ids.header); err != nil {
				return nil, fmt.Errorf("line 1: %w", err)
			}
			if ids.Version != fileVersion {
				return nil, fmt.Errorf("version %d, this program reads version %d", ids.Version, fileVersion)
			}
			continue
		}
		var i identity
		if err := json.Unmarshal(lines.Bytes(), &i); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if err := i.ready(ids.Site); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if len(ids.all) == maxIdentities {
			return nil, fmt.Errorf("more than %d agents", maxIdentities)
		}
		ids.all = append(ids.all, i)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if ids.Version == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return ids, nil
}

// write writes the file's lines.
func (ids *identities) write(w io.Writer) error {
	e := json.NewEncoder(w)
	if err := e.Encode(ids.header); err != nil {
		return err
	}
	for i := range ids.all {
		if err := e.Encode(&ids.all[i]); err != nil {
			return err
		}
	}
	return nil
}

// restore reads the file; a file that is not there holds nobody.
func restore(name string) (*identities, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return new(identities), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read identities: %w", err)
	}
	defer f.Close()
	ids, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("read identities: %s: %w", name, err)
	}
	return ids, nil
}

// store replaces the file, readable by nobody else.
func (ids *identities) store(name string) error {
	var b bytes.Buffer
	if err := ids.write(&b); err != nil {
		return fmt.Errorf("write identities: %w", err)
	}
	if err := durable.Replace(name, b.Bytes()); err != nil {
		return fmt.Errorf("write identities: %w", err)
	}
	return nil
}
