package wire

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An Identity is who a device is: what the URI in its certificate says, as
// bugle://SITE/device/NUMBER/UUID.
type Identity struct {
	Site   string
	Device uint32
	ID     task.ID
}

// URI returns the identity as it stands in a certificate.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "bugle", Host: i.Site, Path: fmt.Sprintf("/device/%d/%s", i.Device, i.ID)}
}

// ErrNoIdentity is wrapped by the errors of [IdentityOf].
var ErrNoIdentity = errors.New("certificate names no device of a site")

// IdentityOf reads the identity from a certificate, which the caller has
// verified. Only the one form of [Identity.URI] is taken, for who compares what
// they read must not be fooled by another spelling.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "bugle" {
		return Identity{}, ErrNoIdentity
	}
	u := cert.URIs[0]
	part := strings.Split(u.Path, "/")
	if len(part) != 4 || part[1] != "device" {
		return Identity{}, fmt.Errorf("%w: %q", ErrNoIdentity, u)
	}
	number, err := strconv.ParseUint(part[2], 10, 32)
	if err != nil || number == 0 || number > task.MaxDevice {
		return Identity{}, fmt.Errorf("%w: device number %q", ErrNoIdentity, part[2])
	}
	id, err := task.ParseID(part[3])
	if err != nil {
		return Identity{}, fmt.Errorf("%w: device id %q", ErrNoIdentity, part[3])
	}
	i := Identity{Site: u.Host, Device: uint32(number), ID: id}
	if i.Site == "" || len(i.Site) > task.MaxSite || u.String() != i.URI().String() {
		return Identity{}, fmt.Errorf("%w: %q", ErrNoIdentity, u)
	}
	return i, nil
}

// A ListenerIdentity is who a stand-alone listener is: what the URI in its
// certificate says, as bugle://SITE/listener/NAME.
type ListenerIdentity struct {
	Site string
	Name string // [A-Z0-9]{3,16}
}

// URI returns the identity as it stands in a certificate.
func (i ListenerIdentity) URI() *url.URL {
	return &url.URL{Scheme: "bugle", Host: i.Site, Path: "/listener/" + i.Name}
}

// ErrNoListener is wrapped by the errors of [ListenerOf].
var ErrNoListener = errors.New("certificate names no listener of a site")

// ListenerOf reads the identity of a listener from a certificate, which the
// caller has verified. Only the one form of [ListenerIdentity.URI] is taken.
func ListenerOf(cert *x509.Certificate) (ListenerIdentity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "bugle" {
		return ListenerIdentity{}, ErrNoListener
	}
	u := cert.URIs[0]
	name, ok := strings.CutPrefix(u.Path, "/listener/")
	i := ListenerIdentity{Site: u.Host, Name: name}
	if !ok || !validListener(name) || i.Site == "" || len(i.Site) > task.MaxSite || u.String() != i.URI().String() {
		return ListenerIdentity{}, fmt.Errorf("%w: %q", ErrNoListener, u)
	}
	return i, nil
}

func validListener(name string) bool {
	if len(name) < 3 || len(name) > 16 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
