package peer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func reader(b []byte) *bufio.Reader { return bufio.NewReaderSize(bytes.NewReader(b), readBuffer) }

// TestPacketBytes is MQTT 3.1.1 as its specification writes it.
func TestPacketBytes(t *testing.T) {
	long := bytes.Repeat([]byte{'x'}, 130)
	for what, p := range map[string]struct {
		got  []byte
		want string
	}{
		"connect":       {appendConnect(nil, "me", false, 60), "\x10\x0e\x00\x04MQTT\x04\x00\x00\x3c\x00\x02me"},
		"connect clean": {appendConnect(nil, "me", true, 60), "\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me"},
		"subscribe":     {appendSubscribe(nil, 10, "a/b", "c/d"), "\x82\x0e\x00\x0a\x00\x03a/b\x01\x00\x03c/d\x01"},
		"publish":       {appendPublish(nil, 10, "a/b", []byte("hi")), "\x32\x09\x00\x03a/b\x00\x0ahi"},
		"long publish":  {appendPublish(nil, 1, "t", long), "\x32\x87\x01\x00\x01t\x00\x01" + string(long)},
		"puback":        {appendPuback(nil, 258), "\x40\x02\x01\x02"},
		"pingreq":       {pingreq, "\xc0\x00"},
	} {
		if string(p.got) != p.want {
			t.Errorf("%s: %q, want %q", what, p.got, p.want)
		}
	}
}

func TestWrongPackets(t *testing.T) {
	for what, b := range map[string]string{
		"too long":     "\x30\xff\xff\x7f",
		"length":       "\x30\x80\x80\x80\x80\x00",
		"cut off":      "\x30\x05abc",
		"QoS 0":        "\x30\x05\x00\x01thi",
		"QoS 2":        "\x34\x05\x00\x01t\x00\x01",
		"topic":        "\x32\x04\x00\x09ab",
		"no room":      "\x32\x03\x00\x01t",
		"identifier 0": "\x32\x05\x00\x01t\x00\x00",
	} {
		p, err := readPacket(reader([]byte(b)))
		if err == nil {
			_, _, _, err = p.publish()
		}
		if err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	refused := packet{kind: mqttConnack, body: []byte{0, 5}}
	if _, err := refused.connack(); err == nil {
		t.Error("a refusal is a welcome")
	}
	if (packet{kind: mqttSuback, body: []byte{0, 1, mqttRefusedTopic}}).suback() == nil {
		t.Error("a refused topic is granted")
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(appendPublish(appendPuback(nil, 3), 7, "task", taskPayload(1)))
	f.Add(appendConnect(appendSubscribe(nil, 1, "a", "b"), "agent-1", true, 60))
	f.Add([]byte{mqttConnack << 4, 2, 1, 0, mqttSuback << 4, 3, 0, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := reader(b); ; {
			p, err := readPacket(r)
			if err != nil {
				return
			}
			if len(p.body) > maxPacket {
				t.Fatalf("%d bytes", len(p.body))
			}
			again, err := readPacket(reader(appendPacket(nil, p.kind, p.flags, p.body)))
			if err != nil || again.kind != p.kind || again.flags != p.flags || !bytes.Equal(again.body, p.body) {
				t.Fatalf("%+v came back as %+v: %v", p, again, err)
			}
			if topic, id, payload, err := p.publish(); err == nil {
				same := appendPublish(nil, id, topic, payload)
				if !bytes.HasSuffix(same, p.body) {
					t.Fatalf("publish %q came back as %q", p.body, same)
				}
			}
			_, _ = p.connack()
			_ = p.suback()
			_, _, _ = p.ack()
		}
	})
}

func TestNATSMessages(t *testing.T) {
	text := "INFO {\"a\":1}\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'no'\r\n" +
		"MSG task 1 5\r\nhello\r\nMSG task 1 m.2 0\r\n\r\n" +
		"HMSG m.2 3 12 17\r\nNATS/1.0\r\n\r\nhello\r\nHMSG m.2 3 12 12\r\nNATS/1.0\r\n\r\n\r\n"
	want := []natsOp{{kind: natsInfo}, {kind: natsPing}, {kind: natsPong}, {kind: natsOK}, {kind: natsError, text: "'no'"},
		{kind: natsMessage, sid: 1, payload: []byte("hello")}, {kind: natsMessage, sid: 1},
		{kind: natsMessage, sid: 3, payload: []byte("hello")}, {kind: natsMessage, sid: 3}}
	r := reader([]byte(text))
	for i, w := range want {
		o, err := readNATS(r)
		if err != nil || o.kind != w.kind || o.sid != w.sid || o.text != w.text || !bytes.Equal(o.payload, w.payload) {
			t.Errorf("message %d: %+v %v, want %+v", i, o, err, w)
		}
	}
	if _, err := readNATS(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestWrongNATSMessages(t *testing.T) {
	for _, text := range []string{"PING\n", "NOTHING\r\n", "\r\n", "MSG task 1\r\n", "MSG task one 0\r\n\r\n", "MSG task 1 -1\r\n\r\n",
		"MSG task 1 2000\r\n", "MSG task 1 2\r\nhello\r\n", "HMSG m 3 5 4\r\nabcd\r\n", "HMSG m 3 4\r\nabcd\r\n", "MSG a b c d e\r\n",
		strings.Repeat("x", 2*readBuffer)} {
		if _, err := readNATS(reader([]byte(text))); !errors.Is(err, errNATS) {
			t.Errorf("%.30q: %v", text, err)
		}
	}
	if _, err := readNATS(reader([]byte("MSG task 1 5\r\nhel"))); err != io.EOF {
		t.Errorf("cut off: %v", err)
	}
}

func FuzzNATS(f *testing.F) {
	f.Add([]byte("INFO {}\r\nPING\r\nMSG task 1 5\r\nhello\r\n"))
	f.Add([]byte("HMSG m.2 3 12 17\r\nNATS/1.0\r\n\r\nhello\r\n-ERR 'x'\r\n"))
	f.Add((&natsAgent{number: 3}).hello(0))
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := reader(b); ; {
			o, err := readNATS(r)
			if err != nil {
				return
			}
			if len(o.payload) > maxMessage || o.kind == natsMessage && !bytes.Contains(b, o.payload) {
				t.Fatalf("%+v", o)
			}
			_, _ = taskNumber(o.payload)
		}
	})
}

func TestFrames(t *testing.T) {
	b := appendFrame(nil, frameTask, 258, 'h', 'i')
	if want := "\x00\x00\x00\x0b\x03\x00\x00\x00\x00\x00\x00\x01\x02hi"; string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	for _, bad := range []string{"\x00\x00\x00\x08\x03abcdefgh", "\xff\xff\xff\xff\x03abcdefgh", "\x00\x00\x09\x00"} {
		if _, err := readFrame(reader([]byte(bad))); !errors.Is(err, errFrame) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	most := appendFrame(nil, framePush, 1, appendAgents(taskPayload(1), []int{maxAgents - 1})...)
	if _, err := readFrame(bufio.NewReaderSize(bytes.NewReader(most), backBuffer)); err != nil {
		t.Errorf("a push to the last agent: %v", err)
	}
}

func TestBitmap(t *testing.T) {
	b := appendAgents([]byte{0xff}, []int{9, 0, 23})
	if want := []byte{0xff, 1, 2, 0x80}; !bytes.Equal(b, want) {
		t.Errorf("%x, want %x", b, want)
	}
	for agent := range 40 {
		if got, want := hasAgent(b[1:], agent), agent == 9 || agent == 0 || agent == 23; got != want {
			t.Errorf("agent %d: %v", agent, got)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, frameHello, 1), frameTask, 2, taskPayload(2)...))
	f.Add(appendFrame(nil, framePush, 9, appendAgents(taskPayload(9), []int{1, 30})...))
	f.Add((&bareAgent{number: 3}).answer(9))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for r := reader(b); ; {
			f, err := readFrame(r)
			if err != nil {
				break
			}
			again = appendFrame(again, f.kind, f.number, f.body...)
			_, _ = taskNumber(f.body)
			_, _, _ = readAnswer(f.body)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x came back as %x", b, again)
		}
	})
}
