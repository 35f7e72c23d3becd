package peer

import (
	"fmt"
	"strconv"
)

// The subjects, and the stream that keeps the newest task of each.
const (
	subjectAll     = "task"
	subjectOne     = "a."       // and the agent's number
	subjectMissed  = "m."       // and the agent's number: where it gets what it asks for
	subjectAnswer  = "answer."  // and the agent's number
	subjectAnswers = "answer.*" // all of them
	streamName     = "TASKS"
	directGet      = "$JS.API.DIRECT.GET." + streamName + "." // and the subject whose newest message is wanted
)

// The agent's subscriptions.
const (
	sidAll = iota + 1
	sidOne
	sidMissed
)

// natsConnect asks for headers, since what the stream gives has some.
const natsConnect = `CONNECT {"verbose":false,"pedantic":false,"tls_required":true,"lang":"go","version":"1","protocol":1,"headers":true,"no_responders":false,"name":"` + agentPrefix + `%d"}` + "\r\n"

// A natsAgent is how an agent speaks with NATS.
type natsAgent struct {
	number  int
	welcome bool
	waiting []uint64 // tasks whose answers wait for PONG, oldest first; few
}

// hello subscribes, then asks for the newest task for all and the newest for the agent,
// so that none is missed between the two; the subscription for what comes ends itself.
func (n *natsAgent) hello(uint64) []byte {
	id := strconv.Itoa(n.number)
	b := fmt.Appendf(nil, natsConnect, n.number)
	b = appendSub(b, subjectAll, sidAll)
	b = appendSub(b, subjectOne+id, sidOne)
	b = appendSub(b, subjectMissed+id, sidMissed)
	b = fmt.Appendf(b, "UNSUB %d 2\r\n", sidMissed)
	b = appendPub(b, directGet+subjectAll, subjectMissed+id, nil)
	b = appendPub(b, directGet+subjectOne+id, subjectMissed+id, nil)
	return append(b, "PING\r\n"...)
}

// ping is nil: the server asks.
func (n *natsAgent) ping() []byte { return nil }

// answer publishes the answer and asks for PONG, which says that the server took it.
func (n *natsAgent) answer(number uint64) []byte {
	n.waiting = append(n.waiting, number)
	payload := answerPayload(number, n.number)
	return append(appendPub(nil, subjectAnswer+strconv.Itoa(n.number), "", payload[:]), "PING\r\n"...)
}

func (n *natsAgent) hear(s *session) error {
	o, err := readNATS(s.read)
	if err != nil {
		return err
	}
	switch o.kind {
	case natsPing:
		return s.write([]byte("PONG\r\n"))
	case natsPong:
		return n.pong(s)
	case natsError:
		return fmt.Errorf("the server says %s", o.text)
	case natsMessage:
		if o.sid == sidMissed && len(o.payload) == 0 {
			return nil // nothing was missed
		}
		number, err := taskNumber(o.payload)
		if err != nil {
			return err
		}
		return s.task(number, nil)
	}
	return nil
}

// pong is the first one's welcome, and then the safety of answers in their order.
func (n *natsAgent) pong(s *session) error {
	if !n.welcome {
		n.welcome = true
		return s.signedIn()
	}
	if len(n.waiting) == 0 {
		return fmt.Errorf("%w: PONG that was not asked for", errNATS)
	}
	number := n.waiting[0]
	n.waiting = n.waiting[1:]
	s.safe(number)
	return nil
}
