package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/agent"
)

// status says where the agent stands.
func (p *program) status(args []string) error {
	var dir, output string
	f := p.flags("status")
	f.StringVar(&dir, "dir", defaultDir(), "folder of the agent")
	f.StringVar(&output, "o", "text", "text or json")
	if err := p.parse(f, args); err != nil {
		return err
	}
	if output != "text" && output != "json" {
		return &usageError{fmt.Sprintf("-o %q: it is text or json", output)}
	}
	s, err := agent.ReadStatus(dir)
	if err != nil {
		return err
	}
	running, err := agent.Running(dir)
	if err != nil {
		return err
	}
	if !running {
		s.Connected = false // what is in the file is what a process that died last said
	}
	if output == "json" {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Running bool `json:"running"`
			agent.Status
		}{running, s})
	}
	printStatus(p.stdout, &s, running)
	return nil
}

func printStatus(w io.Writer, s *agent.Status, running bool) {
	fmt.Fprintf(w, "device      %d of site %s\n", s.Device, s.Site)
	fmt.Fprintf(w, "id          %s\n", s.ID)
	switch {
	case !running:
		fmt.Fprintln(w, "agent       not running")
	default:
		fmt.Fprintf(w, "agent       running, process %d, version %s\n", s.PID, s.Version)
	}
	if s.Connected {
		fmt.Fprintf(w, "connection  to %s (%s) by %s since %s\n", s.Listener, s.Address, s.Carrier, when(s.Since))
		fmt.Fprintf(w, "keep-alive  every %s\n", time.Duration(s.KeepAliveSeconds*float64(time.Second)))
	} else {
		fmt.Fprintln(w, "connection  none")
		if running && !s.NextTry.IsZero() {
			fmt.Fprintf(w, "next try    %s\n", when(s.NextTry))
		}
	}
	if s.Policy != "" {
		fmt.Fprintf(w, "policy      %s\n", s.Policy)
	} else {
		fmt.Fprintln(w, "policy      none")
	}
	if s.Keyring > 0 {
		fmt.Fprintf(w, "keyring     %d\n", s.Keyring)
	}
	if len(s.Windows) > 0 {
		fmt.Fprintf(w, "windows     %s\n", strings.Join(s.Windows, ", "))
		if opening := s.Opening(time.Now(), time.Local); opening != "" {
			fmt.Fprintf(w, "            %s\n", opening)
		}
	}
	if len(s.Users) > 0 {
		fmt.Fprintf(w, "people      %s\n", strings.Join(s.Users, ", "))
	}
	for _, d := range s.Deferred {
		until := "for ever"
		if !d.Until.IsZero() {
			until = "until " + when(d.Until)
		}
		fmt.Fprintf(w, "deferred    %s %s %s (%s)\n", d.Kind, d.Operation, until, d.Why)
	}
	if s.More > 0 {
		fmt.Fprintf(w, "deferred    %d more\n", s.More)
	}
	if s.LastError != "" {
		fmt.Fprintf(w, "last error  %s\n", s.LastError)
	}
}

func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }
