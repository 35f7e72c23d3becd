//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package poll

import "errors"

type poller struct{}

func newPoller() (poller, error)         { return poller{}, errors.ErrUnsupported }
func (poller) add(int, uint64) error     { return errors.ErrUnsupported }
func (poller) wait([]event) (int, error) { return 0, errors.ErrUnsupported }
func (poller) wake()                     {}
func (poller) close()                    {}
func dup(int) (int, error)               { return -1, errors.ErrUnsupported }
func closeFD(int) error                  { return errors.ErrUnsupported }
func readFD(int, []byte) (int, error)    { return 0, errors.ErrUnsupported }
func writeFD(int, []byte) (int, error)   { return 0, errors.ErrUnsupported }
func shutdownFD(int, bool) error         { return errors.ErrUnsupported }
func noticeDead(int)                     {}
