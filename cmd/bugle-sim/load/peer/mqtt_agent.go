package peer

import (
	"fmt"
	"strconv"
)

// An mqttAgent is how an agent speaks with mosquitto.
type mqttAgent struct {
	number int
	lastID uint16
	unsafe []mqttSent // answers without PUBACK, oldest first; few
}

type mqttSent struct {
	id     uint16
	number uint64
}

func (m *mqttAgent) hello(uint64) []byte {
	return appendConnect(nil, agentPrefix+strconv.Itoa(m.number), false, aliveSeconds)
}

func (m *mqttAgent) ping() []byte { return pingreq }

func (m *mqttAgent) answer(number uint64) []byte {
	if m.lastID++; m.lastID == 0 {
		m.lastID++
	}
	m.unsafe = append(m.unsafe, mqttSent{m.lastID, number})
	b := answerPayload(number, m.number)
	return appendPublish(nil, m.lastID, topicAnswer+strconv.Itoa(m.number), b[:])
}

func (m *mqttAgent) hear(s *session) error {
	p, err := readPacket(s.read)
	if err != nil {
		return err
	}
	switch p.kind {
	case mqttConnack:
		known, err := p.connack()
		switch {
		case err != nil:
			return err
		case known:
			return s.signedIn()
		}
		return s.write(appendSubscribe(nil, 1, topicAll, topicOne+strconv.Itoa(m.number)))
	case mqttSuback:
		if err := p.suback(); err != nil {
			return err
		}
		return s.signedIn()
	case mqttPublish:
		_, id, payload, err := p.publish()
		if err != nil {
			return err
		}
		number, err := taskNumber(payload)
		if err != nil {
			return err
		}
		return s.task(number, appendPuback(nil, id))
	case mqttPuback:
		return m.acknowledged(s, p)
	case mqttPingresp:
		return nil
	}
	return fmt.Errorf("%w: kind %d", errPacket, p.kind)
}

func (m *mqttAgent) acknowledged(s *session, p packet) error {
	id, _, err := p.ack()
	if err != nil {
		return err
	}
	for i, sent := range m.unsafe {
		if sent.id == id {
			m.unsafe = append(m.unsafe[:i], m.unsafe[i+1:]...)
			s.safe(sent.number)
			return nil
		}
	}
	return fmt.Errorf("%w: PUBACK of %d, which was not sent", errPacket, id)
}
