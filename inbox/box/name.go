package box

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
)

// String returns the extension that files of this kind have, "?" for a number
// that is no kind.
func (k Kind) String() string {
	switch k {
	case BTS:
		return "BTS"
	case BOS:
		return "BOS"
	case SVF:
		return "SVF"
	case DDR:
		return "DDR"
	}
	return "?"
}

// Valid tells whether k is one of the kinds.
func (k Kind) Valid() bool { return k >= BTS && k <= DDR }

// Bounds of a [Name].
const (
	MinListener = 3        // bytes of a listener's name
	MaxListener = 16       // bytes of a listener's name
	MaxEpoch    = 99999999 // eight digits
	maxName     = MaxListener + 1 + epochDigits + 1 + numberDigits + 1 + 3
)

const (
	epochDigits  = 8
	numberDigits = 20
)

// A Name is the name of a file in the box, and so its identity: who wrote it, in
// which epoch, and its number in the one sequence that the writer keeps for each
// kind.
type Name struct {
	Listener string // [A-Z0-9]{3,16}
	Epoch    uint32 // granted by the site, from 1 to [MaxEpoch]
	Number   uint64 // from 1, without a hole
	Kind     Kind
}

// String returns LISTENER-EPOCH-NUMBER.KIND, with 8 digits of epoch and 20 of
// number.
func (n Name) String() string {
	b := make([]byte, 0, maxName)
	b = append(b, n.Listener...)
	b = append(b, '-')
	b = appendDigits(b, uint64(n.Epoch), epochDigits)
	b = append(b, '-')
	b = appendDigits(b, n.Number, numberDigits)
	b = append(b, '.')
	return string(append(b, n.Kind.String()...))
}

func appendDigits(b []byte, v uint64, width int) []byte {
	var digits [numberDigits]byte
	s := strconv.AppendUint(digits[:0], v, 10)
	for range width - len(s) {
		b = append(b, '0')
	}
	return append(b, s...)
}

// ErrName is wrapped by every error that means: this is not the name of a file
// of the box.
var ErrName = errors.New("not the name of a box file")

// Check returns an error that wraps [ErrName] if a field is out of its bounds.
func (n Name) Check() error {
	switch {
	case !validListener(n.Listener):
		return fmt.Errorf("%w: listener %.40q, must be %d to %d of A-Z and 0-9", ErrName, n.Listener, MinListener, MaxListener)
	case n.Epoch == 0 || n.Epoch > MaxEpoch:
		return fmt.Errorf("%w: epoch %d, must be 1 to %d", ErrName, n.Epoch, MaxEpoch)
	case n.Number == 0:
		return fmt.Errorf("%w: number 0, the first is 1", ErrName)
	case !n.Kind.Valid():
		return fmt.Errorf("%w: kind %d", ErrName, n.Kind)
	}
	return nil
}

func validListener(s string) bool {
	if len(s) < MinListener || len(s) > MaxListener {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// ParseName reads what [Name.String] wrote, and nothing else: there is one
// spelling of each name. The error wraps [ErrName]. The listener's name is a
// part of s.
func ParseName(s string) (Name, error) {
	const tail = 1 + epochDigits + 1 + numberDigits + 1 + 3
	at := len(s) - tail
	if at < MinListener || at > MaxListener || s[at] != '-' || s[at+9] != '-' || s[at+30] != '.' {
		return Name{}, fmt.Errorf("%w: %.80q, it looks like LISTENER-EPOCH-NUMBER.KIND", ErrName, s)
	}
	epoch, ok1 := parseDigits(s[at+1 : at+9])
	number, ok2 := parseDigits(s[at+10 : at+30])
	if !ok1 || !ok2 {
		return Name{}, fmt.Errorf("%w: %.80q, epoch and number are 8 and 20 digits", ErrName, s)
	}
	n := Name{Listener: s[:at], Epoch: uint32(epoch), Number: number, Kind: parseKind(s[at+31:])}
	if err := n.Check(); err != nil {
		return Name{}, err
	}
	return n, nil
}

func parseDigits(s string) (uint64, bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return v, err == nil
}

func parseKind(s string) Kind {
	for k := BTS; k <= DDR; k++ {
		if s == k.String() {
			return k
		}
	}
	return 0
}

// Compare orders names as a reader claims them: by kind, then listener, epoch
// and number.
func (n Name) Compare(m Name) int {
	return cmp.Or(cmp.Compare(n.Kind, m.Kind), cmp.Compare(n.Listener, m.Listener),
		cmp.Compare(n.Epoch, m.Epoch), cmp.Compare(n.Number, m.Number))
}
