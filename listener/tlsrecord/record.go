package tlsrecord

import (
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"sync"
)

// Of RFC 8446, 5.1 and 5.2.
const (
	headerSize   = 5
	maxPlaintext = 1 << 14
	maxSealed    = maxPlaintext + 256 // of a record without its header
	maxRecord    = headerSize + maxSealed
	overhead     = 16 // of every suite
	legacy       = 0x0303
)

// Content types (RFC 8446, B.1).
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

// Alerts (RFC 8446, 6).
const (
	closeNotify       tls.AlertError = 0
	unexpectedMessage tls.AlertError = 10
	badRecordMAC      tls.AlertError = 20
	recordOverflow    tls.AlertError = 22
	protocolVersion   tls.AlertError = 70
	internalError     tls.AlertError = 80
	userCanceled      tls.AlertError = 90
)

// scratch is what one Read or Write works in. Nonce is here so that it is not
// allocated each time.
type scratch struct {
	nonce [ivSize]byte
	buf   [maxRecord]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// seal returns data as the next record of h, made in s.
func (h *half) seal(a cipher.AEAD, s *scratch, typ byte, data []byte) []byte {
	r := append(s.buf[:0], typeData, legacy>>8, legacy&0xff, 0, 0)
	binary.BigEndian.PutUint16(r[3:], uint16(len(data)+1+overhead))
	r = append(r, data...)
	r = append(r, typ)
	h.nonce(&s.nonce)
	h.count++
	return a.Seal(r[:headerSize], s.nonce[:], r[headerSize:], r[:headerSize])
}

// next is the record at the start of b, or nil if it is not whole.
func next(b []byte) ([]byte, *ProtocolError) {
	if len(b) < headerSize {
		return nil, nil
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	switch {
	case b[0] != typeData:
		return nil, &ProtocolError{unexpectedMessage, "a record is not protected"}
	case binary.BigEndian.Uint16(b[1:]) != legacy:
		return nil, &ProtocolError{protocolVersion, "a record is of another version"}
	case n > maxSealed:
		return nil, &ProtocolError{recordOverflow, "a record is too long"}
	case n < overhead:
		return nil, &ProtocolError{badRecordMAC, "a record is too short"}
	case len(b) < headerSize+n:
		return nil, nil
	}
	return b[:headerSize+n], nil
}

// open returns what the next record of h holds, which it opens in place.
func (h *half) open(a cipher.AEAD, nonce *[ivSize]byte, record []byte) (typ byte, data []byte, bad *ProtocolError) {
	h.nonce(nonce)
	sealed := record[headerSize:]
	data, err := a.Open(sealed[:0], nonce[:], sealed, record[:headerSize])
	if err != nil {
		return 0, nil, &ProtocolError{badRecordMAC, "a record was changed, or is not for us"}
	}
	h.count++
	if len(data) > maxPlaintext+1 {
		return 0, nil, &ProtocolError{recordOverflow, "a record holds too much"}
	}
	for len(data) > 0 && data[len(data)-1] == 0 {
		data = data[:len(data)-1]
	}
	if len(data) == 0 {
		return 0, nil, &ProtocolError{unexpectedMessage, "a record holds nothing but padding"}
	}
	return data[len(data)-1], data[:len(data)-1], nil
}
