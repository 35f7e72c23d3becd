package definitions

import (
	"fmt"
	"strconv"
	"strings"
)

// maxNumber is the highest number that fits the five digits of an id.
const maxNumber = 1<<20 - 1

// maxGiven is the highest number that a document may give to a new collection: the
// numbers behind it are left for those that get the next one.
const maxGiven = maxNumber - 1<<16

// idOf is the id of a collection of a site: its code and five hexadecimal digits.
func idOf(site string, number uint32) string { return fmt.Sprintf("%s%05X", site, number) }

// numberOf is the number in an id of a site; ok is false if it is another site's.
func numberOf(site, id string) (number uint32, ok bool) {
	digits, ok := strings.CutPrefix(id, site)
	if !ok || len(digits) != 5 || strings.ToUpper(digits) != digits {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	return uint32(n), err == nil
}

// IsID tells whether a text has the form of an id: three letters or digits and five
// hexadecimal digits, in capitals.
func IsID(s string) bool {
	if len(s) != 8 {
		return false
	}
	for i, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'F' && i >= 3 || c > 'Z') {
			return false
		}
	}
	return true
}
