package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// MaxKey is the longest key of a row, in bytes.
const MaxKey = 256

// Key tells the rows of a class of one device apart: the values of the key
// properties, folded, in their order, parted by "|"; "" for a class without keys.
// Rows with equal keys are the same row; of a NULL it is as of "". A key that would
// be longer than [MaxKey] ends in a digest of all of it.
func Key(c *Class, r Row) string {
	var b strings.Builder
	first := true
	for i := range c.Properties {
		p := &c.Properties[i]
		if !p.Key {
			continue
		}
		if !first {
			b.WriteByte('|')
		}
		first = false
		if i < len(r) {
			b.WriteString(keyEscaper.Replace(Fold(FormatValue(p, r[i]))))
		}
	}
	return boundKey(b.String())
}

// keyEscaper keeps a "|" in a value from looking like the end of it.
var keyEscaper = strings.NewReplacer(`\`, `\\`, `|`, `\|`)

func boundKey(key string) string {
	if len(key) <= MaxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	n := MaxKey - 1 - 2*len(sum)
	for n > 0 && !utf8.RuneStart(key[n]) {
		n--
	}
	return key[:n] + "|" + hex.EncodeToString(sum[:])
}
