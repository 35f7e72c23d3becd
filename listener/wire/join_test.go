package wire

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	tokenText = "bugle1.0123456789abcdef.00112233445566778899aabbccddeeff.0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
	deviceURI = "bugle://P01/device/7/01936f5e-8a6b-7c1d-9e2f-0123456789ab"
)

func TestToken(t *testing.T) {
	tok, err := ParseToken("  " + tokenText + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if tok.ID != "0123456789abcdef" || tok.Secret != "00112233445566778899aabbccddeeff" || tok.CA[31] != 0x20 || tok.String() != tokenText {
		t.Fatalf("got %+v", tok)
	}
	for _, bad := range []string{"", "bugle1", tokenText[1:], tokenText + "0", tokenText[:len(tokenText)-1], tokenText + ".x",
		strings.Replace(tokenText, "bugle1", "bugle2", 1), strings.ToUpper(tokenText), strings.Replace(tokenText, "abcdef", "abcdeg", 1),
		strings.Replace(tokenText, ".", "", 1)} {
		if _, err := ParseToken(bad); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// An error about a token never shows it.
func TestTokenErrorHidesSecret(t *testing.T) {
	for cut := range len(tokenText) {
		if _, err := ParseToken(tokenText[:cut]); err == nil || strings.Contains(err.Error(), "0011223344") {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func identityOf(uris ...string) (Identity, error) {
	c := &x509.Certificate{}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			return Identity{}, ErrNoIdentity
		}
		c.URIs = append(c.URIs, u)
	}
	return IdentityOf(c)
}

func TestIdentity(t *testing.T) {
	i, err := identityOf(deviceURI)
	if want := (Identity{"P01", 7, id1}); err != nil || i != want || i.URI().String() != deviceURI {
		t.Fatalf("got %+v, %v", i, err)
	}
	for _, bad := range []string{"https://P01/device/7/" + id1.String(), "bugle:///device/7/" + id1.String(),
		"bugle://P01/device/0/" + id1.String(), "bugle://P01/device/16777216/" + id1.String(), "bugle://P01/device/07/" + id1.String(),
		"bugle://P01/device/x/" + id1.String(), "bugle://P01/user/7/" + id1.String(), "bugle://P01/device/7", deviceURI + "/",
		deviceURI + "?a=b", deviceURI + "#a", strings.ToUpper(deviceURI), "bugle://P01/device/7/" + strings.ToUpper(id1.String()),
		"bugle://me@P01/device/7/" + id1.String(), "bugle://A-SITE-WITH-A-LONG-NAME/device/7/" + id1.String(), "bugle:x", ""} {
		if got, err := identityOf(bad); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
	for n, uris := range [][]string{{}, {deviceURI, deviceURI}} {
		if _, err := identityOf(uris...); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestIdentityRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id task.ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		want := Identity{rapid.StringMatching(`[A-Z0-9]{1,16}`).Draw(t, "site"), rapid.Uint32Range(1, task.MaxDevice).Draw(t, "device"), id}
		if got, err := identityOf(want.URI().String()); err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add(tokenText)
	f.Add("bugle1...")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err == nil && tok.String() != strings.TrimSpace(s) {
			t.Fatalf("%q became %q", s, tok)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(deviceURI)
	f.Add("bugle://P01/device/7/")
	f.Fuzz(func(t *testing.T, s string) {
		i, err := identityOf(s)
		if err != nil {
			if !errors.Is(err, ErrNoIdentity) {
				t.Fatal(err)
			}
			return
		}
		if again, err := identityOf(i.URI().String()); err != nil || again != i {
			t.Fatalf("%q became %+v, then %+v, %v", s, i, again, err)
		}
	})
}
