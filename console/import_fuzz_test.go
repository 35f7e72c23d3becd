package console_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/console"
)

// FuzzImportLine: what is taken is JSON, and what is refused as no JSON is none.
func FuzzImportLine(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","Build":"10.0","Client":1,"SystemOUName":["a","b"],"CreationDate":null,"SMS_G_System_COMPUTER_SYSTEM":{"PartOfDomain":true,"NumberOfProcessors":-2}}`,
		`{"number":7,"SMS_G_System_ADD_REMOVE_PROGRAMS":[{"DisplayName":"7-Zip","Version":"23"},{"ProdID":"{1}"}],"SMS_G_System_LOGICAL_DISK":[]}`,
		`{"id":"0b3c6f6e-1111-4111-8111-111111111111","Build":"\u00e9\ud83d\ude00\"\\"}`, `{"name":"a",}`, `{"name":"a"}x`, `{"Client":01}`, `{"Client":1e5}`, `{"a":tru}`, "{\"name\":\"\x01\"}", ` { "name" : "a" } `, `[`, ``, `{"name":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := console.ReadImportLine(raw)
		switch valid := json.Valid(raw) && utf8.Valid(raw); {
		case err == nil && !valid:
			t.Errorf("%q is no JSON, and taken", raw)
		case err != nil && valid && strings.Contains(err.Error(), "it is not JSON"):
			t.Errorf("%q is JSON, and refused: %v", raw, err)
		}
	})
}
