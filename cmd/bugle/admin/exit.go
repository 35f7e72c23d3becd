package admin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The codes with which the command ends.
const (
	codeFailed = 1 // it did not work, or it is not known whether it did
	codeUsage  = 2 // it was called wrongly; nothing was done
	codePartly = 3 // an operation ended, and not every device did what it should
)

// An ExitError is an error that says with which code the process ends.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the error without the code.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is the code for an error of a command: 0 for none, that of an
// [ExitError], 2 for what cobra says of a wrong call, and 1 for all else.
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	case wronglyCalled(err):
		return codeUsage
	}
	return codeFailed
}

// wronglyCalled recognises the errors of pflag, which are typed, and those of
// cobra, which are not.
func wronglyCalled(err error) bool {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	if errors.As(err, &unknown) || errors.As(err, &missing) || errors.As(err, &invalid) || errors.As(err, &syntax) {
		return true
	}
	for _, start := range []string{"unknown command ", "required flag(s) ", "if any flags in the group ", "at least one of the flags "} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

func usage(format string, args ...any) error {
	return &ExitError{codeUsage, fmt.Errorf(format, args...)}
}

func flagError(c *cobra.Command, err error) error {
	return usage("%v; see '%s --help'", err, c.CommandPath())
}

// exactly takes as many arguments as there are names, which the error lists.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s is missing: %s", names[len(args)], c.UseLine())
		case len(args) > len(names):
			return usage("%q is one argument too many: %s", args[len(names)], c.UseLine())
		}
		for i, name := range names {
			if args[i] == "" {
				return usage("%s is empty: %s", name, c.UseLine())
			}
		}
		return nil
	}
}

// between takes at least so many arguments, and at most as many as there are names.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least {
			return usage("%s is missing: %s", names[len(args)], c.UseLine())
		}
		return atMost(names...)(c, args)
	}
}

// atMost takes up to as many arguments as there are names.
func atMost(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return usage("%q is one argument too many: %s", args[len(names)], c.UseLine())
		}
		return nil
	}
}

func atLeastOne(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s is missing: %s", name, c.UseLine())
		}
		return nil
	}
}

// group makes c a command that only holds others: called alone, or with a word
// that is none of them, it says which there are.
func group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.AddCommand(children...)
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		names := make([]string, 0, len(children))
		for _, child := range children {
			names = append(names, child.Name())
		}
		all := strings.Join(names, ", ")
		if len(args) == 0 {
			return usage("'%s' needs one of %s; see '%s --help'", c.CommandPath(), all, c.CommandPath())
		}
		return usage("'%s' has no command %q, only %s", c.CommandPath(), args[0], all)
	}
	return c
}
