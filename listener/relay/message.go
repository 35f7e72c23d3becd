package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// Prefix is where all requests of this package are.
const Prefix = "/relay/"

// The paths.
const (
	filesPath  = Prefix + "files"
	logsPath   = Prefix + "logs/"
	beaconPath = Prefix + "beacon"
	policyPath = Prefix + "policy"
	joinPath   = Prefix + "join"
	renewPath  = Prefix + "renew"
	sitePath   = Prefix + "site"

	listenerJoinPath  = Prefix + "listener/join"
	listenerRenewPath = Prefix + "listener/renew"
	listenerEpochPath = Prefix + "listener/epoch"
)

// Bounds of requests and answers.
const (
	MaxFiles  = 512                          // files in one request
	maxBody   = box.MaxFile + 1<<20          // bytes of files in one request
	maxJSON   = 4 * wire.MaxJoin             // of any other request
	maxAnswer = wire.MaxTransfer*3/2 + 1<<20 // base64 included
	maxKnown  = 32                           // ETags that a request for policy names
)

// A Site is what a listener must know of its site before it can serve.
type Site struct {
	Site      string        `json:"site"`
	History   []byte        `json:"history"`       // 16 bytes that name the journal
	Feed      string        `json:"feed"`          // host:port of the feed; an empty host is the site's, an empty text means off
	KeepAlive time.Duration `json:"keepAlive"`     // nanoseconds
	Snapshot  time.Duration `json:"snapshotEvery"` // nanoseconds
}

type beaconRequest struct {
	Nonce []byte `json:"nonce,omitempty"`
}

type beaconReply struct {
	Beacon []byte `json:"beacon"`
}

type policyRequest struct {
	Device uint32   `json:"device"`
	User   string   `json:"user,omitempty"`
	Known  []string `json:"known,omitempty"` // ETags whose bodies need not be sent
}

type policyReply struct {
	ETag      string        `json:"etag"`
	Signed    []byte        `json:"signed,omitempty"` // left out if the request knows it
	Proofs    [][]byte      `json:"proofs,omitempty"`
	KeepAlive time.Duration `json:"keepAlive,omitempty"` // what the policy says of it; nanoseconds
}

type joinRequest struct {
	Address string           `json:"address"` // where the device asked from
	Request wire.JoinRequest `json:"request"`
}

type renewRequest struct {
	Device uint32 `json:"device"`
	CSR    []byte `json:"csr"`
	Proof  []byte `json:"proof,omitempty"` // the device's own, see [wire.Renew.Prove]
}

type renewReply struct {
	Certificate []byte `json:"certificate"`
}

// filesReply says how many files of a request, from the first on, are durable.
// The others are not; the first of them is what the status is about.
type filesReply struct {
	Taken  int    `json:"taken"`
	Title  string `json:"title,omitempty"`
	Detail string `json:"detail,omitempty"`
}

var errFiles = errors.New("malformed files")

// appendFile appends a file as it travels: the length of its name, the name, the
// length of its bytes in 32 bits, the bytes.
func appendFile(b []byte, f *box.Raw) []byte {
	name := f.Name.String()
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Data)))
	return append(b, f.Data...)
}

// parseFiles reads files as they travel; they refer to b.
func parseFiles(b []byte) (files []box.Raw, err error) {
	for len(b) > 0 {
		if len(files) == MaxFiles {
			return nil, fmt.Errorf("%w: more than %d", errFiles, MaxFiles)
		}
		n := int(b[0])
		if len(b) < 1+n+4 {
			return nil, fmt.Errorf("%w: cut short", errFiles)
		}
		name, err := box.ParseName(string(b[1 : 1+n]))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errFiles, err)
		}
		b = b[1+n:]
		size := uint64(binary.BigEndian.Uint32(b))
		if b = b[4:]; size > box.MaxFile || size > uint64(len(b)) {
			return nil, fmt.Errorf("%w: %s has %d bytes", errFiles, name, size)
		}
		files = append(files, box.Raw{Name: name, Data: b[:size:size]})
		b = b[size:]
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: none", errFiles)
	}
	return files, nil
}
