package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// A dropper drops files into the box of a site as a listener does. It is a process
// of its own, so that it dies with the power, and says on stdout what is done.

// dropperName is the environment variable that makes a dropper of the test's
// program: the data folder, the epoch, and how large the files are.
const dropperName = "LAB_DROPPER"

func init() { children[dropperName] = beDropper }

// drop runs a dropper until it is stopped or refused, and notes what it says.
func (l *lab) drop(ctx context.Context, epoch uint32) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %t %s", dropperName, epoch, l.bulk, l.data()))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		if names, ok := strings.CutSuffix(s.Text(), "."); ok { // else it was killed in the middle of a line
			l.records.add(strings.Split(names, ",")...)
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("drop files: %w: %s", err, errs.String())
	}
	return nil
}

// beDropper is the dropper's program.
func beDropper(setting string) error {
	words := strings.SplitN(setting, " ", 3)
	epoch, err := strconv.ParseUint(words[0], 10, 32)
	if err != nil {
		return err
	}
	key, err := listenerKey(filepath.Join(words[2], "keys", "listener.key"))
	if err != nil {
		return err
	}
	spool, err := box.OpenSpool(filepath.Join(words[2], "inboxes", "bgb.box"),
		box.SpoolConfig{Site: "P01", Listener: "SITE01", Epoch: uint32(epoch), Key: key})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n > burst {
			time.Sleep(25 * time.Millisecond)
		}
		if err := dropOne(spool, n, words[1] == "true"); err != nil {
			return err
		}
	}
}

// dropOne drops a file of a kind that the site's own listener, whose name and key
// it has, does not write while no agent is there. What it says is done once Drop
// has returned.
func dropOne(spool *box.Spool, n int, bulk bool) error {
	now := time.Now()
	var c box.Discovery
	var names []string
	for i := range 2 {
		name := fmt.Sprintf("fact %d-%d-%d", os.Getpid(), now.UnixNano(), 2*n+i)
		names = append(names, name)
		c.Records = append(c.Records, box.DiscoveryRecord{Device: 1, At: now, Facts: []box.Fact{{Name: "lab", Value: name}}})
	}
	for i := 0; bulk && i < 20; i++ {
		c.Records[0].Facts = append(c.Records[0].Facts, box.Fact{Name: fmt.Sprint("bulk", i), Value: strings.Repeat("x", box.MaxText)})
	}
	if _, err := spool.Drop(&c, now, now); err != nil {
		return err
	}
	_, err := fmt.Println(strings.Join(names, ",") + ".")
	return err
}

func listenerKey(name string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no PEM in " + name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return key.(ed25519.PrivateKey), nil
}
