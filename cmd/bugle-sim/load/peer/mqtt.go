package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

// The packets of MQTT 3.1.1 that are used, by the upper half of their first byte.
const (
	mqttConnect   = 1
	mqttConnack   = 2
	mqttPublish   = 3
	mqttPuback    = 4
	mqttSubscribe = 8
	mqttSuback    = 9
	mqttPingreq   = 12
	mqttPingresp  = 13
)

// Bits of the lower half of a PUBLISH's first byte.
const (
	mqttQoS = 0b0110
	mqttOne = 0b0010 // QoS 1
)

const mqttRefusedTopic = 0x80 // in SUBACK

// maxPacket bounds what follows a packet's length. It leaves room for the first bytes
// in the smallest buffer that packets are read with.
const maxPacket = 1024

// errPacket is wrapped by the errors about packets that are wrong.
var errPacket = errors.New("wrong MQTT packet")

// A packet is one as it came. Its body is valid until the next is read.
type packet struct {
	kind, flags byte
	body        []byte
}

// appendPacket appends a packet with a body of parts.
func appendPacket(b []byte, kind, flags byte, parts ...[]byte) []byte {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	b = append(b, kind<<4|flags)
	for length >= 0x80 {
		b = append(b, byte(length)|0x80)
		length >>= 7
	}
	b = append(b, byte(length))
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// mqttText is a text with its length before it.
func mqttText(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// appendConnect appends CONNECT. Without clean the broker keeps what the client
// misses. A client must say something every one and a half times alive, in seconds.
func appendConnect(b []byte, client string, clean bool, alive uint16) []byte {
	const level, cleanSession = 4, 2
	head := append(mqttText("MQTT"), level, 0)
	if clean {
		head[len(head)-1] = cleanSession
	}
	return appendPacket(b, mqttConnect, 0, binary.BigEndian.AppendUint16(head, alive), mqttText(client))
}

// appendSubscribe appends SUBSCRIBE to topics with QoS 1.
func appendSubscribe(b []byte, id uint16, topics ...string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	for _, t := range topics {
		body = append(append(body, mqttText(t)...), 1)
	}
	return appendPacket(b, mqttSubscribe, mqttOne, body)
}

// appendPublish appends PUBLISH with QoS 1.
func appendPublish(b []byte, id uint16, topic string, payload []byte) []byte {
	return appendPacket(b, mqttPublish, mqttOne, mqttText(topic), binary.BigEndian.AppendUint16(nil, id), payload)
}

// appendPuback appends PUBACK.
func appendPuback(b []byte, id uint16) []byte {
	return append(b, mqttPuback<<4, 2, byte(id>>8), byte(id))
}

var pingreq = []byte{mqttPingreq << 4, 0}

// readPacket reads one packet of at most [maxPacket]; r's buffer must hold it.
func readPacket(r *bufio.Reader) (p packet, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return p, err
	}
	p.kind, p.flags = first>>4, first&0xf
	length, shift := 0, 0
	for more := true; more; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			return p, err
		}
		if length |= int(c&0x7f) << shift; length > maxPacket || shift > 21 {
			return p, fmt.Errorf("%w: longer than %d bytes", errPacket, maxPacket)
		}
		more = c&0x80 != 0
	}
	if p.body, err = r.Peek(length); err != nil {
		return p, err
	}
	_, err = r.Discard(length)
	return p, err
}

// publish reads PUBLISH with QoS 1.
func (p packet) publish() (topic string, id uint16, payload []byte, err error) {
	b := p.body
	if p.flags&mqttQoS != mqttOne {
		return "", 0, nil, fmt.Errorf("%w: PUBLISH has not QoS 1", errPacket)
	}
	if len(b) < 2 || len(b)-4 < int(binary.BigEndian.Uint16(b)) {
		return "", 0, nil, fmt.Errorf("%w: PUBLISH is cut off", errPacket)
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if id = binary.BigEndian.Uint16(b[n:]); id == 0 {
		return "", 0, nil, fmt.Errorf("%w: PUBLISH has no identifier", errPacket)
	}
	return string(b[2:n]), id, b[n+2:], nil
}

// ack reads the identifier of PUBACK or SUBACK and what follows it.
func (p packet) ack() (id uint16, rest []byte, err error) {
	if len(p.body) < 2 {
		return 0, nil, fmt.Errorf("%w: an acknowledgement is cut off", errPacket)
	}
	return binary.BigEndian.Uint16(p.body), p.body[2:], nil
}

// connack reads CONNACK: whether the broker knows the client's session.
func (p packet) connack() (known bool, err error) {
	if p.kind != mqttConnack || len(p.body) != 2 {
		return false, fmt.Errorf("%w: kind %d in place of CONNACK", errPacket, p.kind)
	}
	if code := p.body[1]; code != 0 {
		return false, fmt.Errorf("the broker refused the client with code %d", code)
	}
	return p.body[0]&1 != 0, nil
}

// suback reads whether all topics were granted.
func (p packet) suback() error {
	_, granted, err := p.ack()
	if err != nil {
		return err
	}
	for _, g := range granted {
		if g == mqttRefusedTopic {
			return errors.New("the broker refused a topic")
		}
	}
	return nil
}
