package admin

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Commands are the administrator's commands, for a root command that has the
// flags of o.
func Commands(o *Options) []*cobra.Command {
	all := []*cobra.Command{
		tokenCommand(o), keysCommand(o), listenersCommand(o), devicesCommand(o), collectionsCommand(o), pushCommand(o), kindsCommand(o), opsCommand(o), traceCommand(o),
		policyCommand(o), collectionsCommand(o), windowsCommand(o), statusCommand(o), inboxCommand(o), journalCommand(o), viewsCommand(o),
		backupCommand(o), restoreCommand(o), replayCommand(o),
	}
	for _, c := range all {
		prepare(c)
	}
	return all
}

// prepare gives c and its children what all have: errors of flags end with code
// 2, and no error is followed by a page of help.
func prepare(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	c.SilenceUsage = true
	for _, child := range c.Commands() {
		prepare(child)
	}
}

// pageSize is how many items a call asks for, which is the most that the console
// gives.
const pageSize = 1000

// pages is all items of a list that comes in pages. fetch gets what the page
// before called next, empty at first.
func pages[T any](fetch func(next string) (items []T, following string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for next := ""; ; {
			items, following, err := fetch(next)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if following == "" {
				return
			}
			if following == next {
				yield(zero, fmt.Errorf("read list: the site answers with the same page again (%s)", next))
				return
			}
			next = following
		}
	}
}

// first is the first n items, or all of them for 0.
func first[T any](n int, items iter.Seq2[T, error]) iter.Seq2[T, error] {
	if n == 0 {
		return items
	}
	return func(yield func(T, error) bool) {
		left := n
		for item, err := range items {
			left--
			if !yield(item, err) || left == 0 {
				return
			}
		}
	}
}

// all is the items of a list that comes whole.
func all[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func limited(n int) (size string) {
	if n > 0 && n < pageSize {
		return strconv.Itoa(n)
	}
	return strconv.Itoa(pageSize)
}

// number is a cursor as text, empty for the end.
func number[N uint32 | uint64](n N) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

// query makes the parameters of a call from names and values; empty ones are
// left out.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// eventOf is the number of the event that a write became.
func eventOf(object any) uint64 {
	switch w := object.(type) {
	case console.Written:
		return w.Event
	case console.CancelReply:
		return w.Event
	}
	return 0
}

// note says something beside the result.
func (s *session) note(format string, args ...any) {
	if !s.Quiet {
		fmt.Fprintln(s.err, clean(fmt.Sprintf(format, args...)))
	}
}

// warn is note that --quiet does not silence.
func (s *session) warn(format string, args ...any) {
	fmt.Fprintln(s.err, clean("warning: "+fmt.Sprintf(format, args...)))
}

// progress shows on stderr how far something is, unless --quiet is given.
func (s *session) progress(total int) *Progress {
	if s.Quiet {
		p := NewProgress(s.err, false, total)
		p.done = true
		return p
	}
	return NewProgress(s.err, s.isTerminal(s.err), total)
}

// operationID checks that an argument is the id of an operation.
func operationID(s string) error {
	if _, err := task.ParseID(s); err != nil {
		return usage("%q is no operation: %w; 'bugle ops list' shows them", s, err)
	}
	return nil
}

func limitFlag(c *cobra.Command, n *int, def int) {
	c.Flags().IntVar(n, "limit", def, "show at most so many, 0 means all")
}

func checkLimit(n int) error {
	if n < 0 {
		return usage("--limit: %d is less than 0", n)
	}
	return nil
}

// completionTime is how long the shell waits for names from the site.
const completionTime = 2 * time.Second

// complete offers what get finds at the site, and nothing if there is none.
func (o *Options) complete(get func(ctx context.Context, c *client, typed string) ([]string, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		client, err := o.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer client.close()
		names, err := get(ctx, client, typed)
		if err != nil {
			names = nil
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// onlyFirst offers completions for the first argument alone.
func onlyFirst(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, typed)
	}
}

const maxCompletions = 100

func deviceNames(ctx context.Context, c *client, typed string) ([]string, error) {
	var page console.DevicePage
	q := query("limit", strconv.Itoa(maxCompletions), "name", typed)
	if err := c.get(ctx, console.PathDevices, q, &page); err != nil {
		return nil, err
	}
	return mapped(page.Items, func(d console.Device) string { return d.Name }), nil
}

func operationIDs(ctx context.Context, c *client, _ string) ([]string, error) {
	var page console.OperationPage
	if err := c.get(ctx, console.PathOperations, query("limit", "20"), &page); err != nil {
		return nil, err
	}
	return mapped(page.Items, func(o console.Operation) string { return o.Operation + "\t" + o.Kind }), nil
}

func kindNames(ctx context.Context, c *client, _ string) ([]string, error) {
	var kinds console.KindList
	if err := c.get(ctx, console.PathKinds, nil, &kinds); err != nil {
		return nil, err
	}
	return mapped(kinds.Items, func(k console.KindInfo) string { return k.Kind + "\t" + k.About }), nil
}

func viewNames(ctx context.Context, c *client, _ string) ([]string, error) {
	var views console.ViewList
	if err := c.get(ctx, console.PathViews, nil, &views); err != nil {
		return nil, err
	}
	return mapped(views.Items, func(v console.View) string { return v.View }), nil
}

func mapped[T any](items []T, f func(T) string) []string {
	out := make([]string, 0, len(items))
	for _, item := range items {
		out = append(out, f(item))
	}
	return out
}
