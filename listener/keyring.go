package listener

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	firstRing = 2    // ring 1 is what joining brought
	maxRings  = 1024 // that are kept
)

// rings are the keyrings to hand out, as frames: the first is ring 2. The table's
// lock owns them. A frame is shared and not changed.
type rings struct {
	frames [][]byte
}

// newest is the number of the newest ring.
func (r *rings) newest() uint32 { return uint32(len(r.frames)) + firstRing - 1 }

// above returns the rings that an agent needs who trusts ring number.
func (r *rings) above(number uint32) [][]byte {
	number = max(number, firstRing-1)
	if number >= r.newest() {
		return nil
	}
	fresh := r.frames[number-firstRing+1:]
	return fresh[:len(fresh):len(fresh)]
}

var (
	errRingGap   = errors.New("keyring is not the next one")
	errRingOther = errors.New("another keyring with this number is known")
	errRings     = errors.New("too many keyrings")
)

// add takes the next ring; fresh is false if it is known.
func (r *rings) add(number uint32, frame []byte) (fresh bool, err error) {
	switch {
	case number < firstRing || number > r.newest()+1:
		return false, fmt.Errorf("%w: %d after %d", errRingGap, number, r.newest())
	case number <= r.newest():
		if !bytes.Equal(r.frames[number-firstRing], frame) {
			return false, fmt.Errorf("%w: %d", errRingOther, number)
		}
		return false, nil
	case len(r.frames) >= maxRings:
		return false, fmt.Errorf("%w: %d are held", errRings, maxRings)
	}
	r.frames = append(r.frames, frame)
	return true, nil
}

func (t *table) newestRing() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rings.newest()
}

// changeKeys keeps a keyring and hands it to every session.
func (t *table) changeKeys(number uint32, frame []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh, err := t.rings.add(number, frame)
	if !fresh {
		return err
	}
	all := make([]receiver, 0, len(t.sessions))
	for _, s := range t.sessions {
		s.keyrings([][]byte{frame})
		all = append(all, s)
	}
	t.signal(all)
	return nil
}

// changeKeys applies a keyring. Who signed it is for agents to check: a listener
// that lies gains nothing.
func (l *Listener) changeKeys(u ChangeKeys) {
	r, err := task.ReadKeyring(u.Ring)
	if err == nil && r.Site != l.cfg.Site {
		err = fmt.Errorf("it is of site %q", r.Site)
	}
	var frame []byte
	if err == nil {
		frame, err = wire.Append(nil, &wire.Keyring{Signed: u.Ring})
	}
	if err == nil {
		err = l.table.changeKeys(r.Number, frame)
	}
	if err != nil {
		l.cfg.Log.Error("keyring is not handed out", "listener", l.cfg.Name, "number", r.Number, "err", err)
		l.status.message(msgKeyring, 0, "keyring is not handed out: "+err.Error())
	}
}
