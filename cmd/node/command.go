package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// command is one entry of the table: a group of commands (sub), one that can be
// run, or both. Parsing and help both read it, and nothing else.
type command struct {
	name  string
	args  []string // names of the arguments; "[NAME]" may be left out
	short string   // one line, for lists
	long  string   // more, for the command's own help; may be empty
	flags func(*flag.FlagSet)
	run   func(ctx context.Context, in *input) error
	sub   []command
}

// input is what a command works with: the outside and its arguments. Its flags
// are in variables of its own.
type input struct {
	Env
	path string // "grantd accounts list"
	args []string
	set  map[string]bool // names of the flags that were given
	// remote is set by commands that speak to a node.
	remote bool
}

// arg returns the i-th argument, "" where it was left out.
func (in *input) arg(i int) string {
	if i >= len(in.args) {
		return ""
	}
	return in.args[i]
}

// errHelp is returned where help was asked for.
var errHelp = errors.New("help")

func isHelp(arg string) bool { return slices.Contains([]string{"help", "-h", "-help", "--help"}, arg) }

// find walks down to the command that the arguments name and returns it with
// its full name and the arguments left. A group without a command is returned
// as it is.
func (c command) find(args []string) (found command, path string, rest []string, err error) {
	path = c.name
	for c.sub != nil {
		if len(args) > 0 && args[0] == "help" {
			args = append(slices.Clone(args[1:]), "--help") // "help accounts list"
		}
		if len(args) == 0 || isHelp(args[0]) {
			return c, path, args, nil
		}
		i := slices.IndexFunc(c.sub, func(s command) bool { return s.name == args[0] })
		if i < 0 && c.run != nil {
			return c, path, args, nil
		}
		if i < 0 && strings.HasPrefix(args[0], "-") {
			return c, path, args, usagef("%s comes before the command; flags go behind it", args[0])
		}
		if i < 0 {
			return c, path, args, usagef("unknown command %q", strings.TrimPrefix(path+" "+args[0], "grantd "))
		}
		c, path, args = c.sub[i], path+" "+args[0], args[1:]
	}
	return c, path, args, nil
}

// flagSet returns the command's flags, ready to parse.
func (c command) flagSet(path string) *flag.FlagSet {
	fs := flag.NewFlagSet(path, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	if c.flags != nil {
		c.flags(fs)
	}
	return fs
}

// parse reads flags and arguments, in any order; after "--" only arguments.
func (c command) parse(path string, args []string) (*input, error) {
	fs := c.flagSet(path)
	in := &input{path: path, set: map[string]bool{}}
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, errHelp
		}
		if err != nil {
			return nil, usageError{err.Error()}
		}
		rest := fs.Args()
		if len(rest) == 0 {
			break
		}
		if ended := len(rest) < len(args) && args[len(args)-len(rest)-1] == "--"; ended {
			in.args = append(in.args, rest...)
			break
		}
		in.args = append(in.args, rest[0])
		args = rest[1:]
	}
	fs.Visit(func(f *flag.Flag) { in.set[f.Name] = true })
	return in, c.checkArgs(in.args)
}

// checkArgs compares the number of arguments with the table.
func (c command) checkArgs(args []string) error {
	for i, name := range c.args {
		if i >= len(args) && !strings.HasPrefix(name, "[") {
			return usagef("%s is missing", name)
		}
	}
	if len(args) > len(c.args) {
		return usagef("%q is too much", args[len(c.args)])
	}
	return nil
}

// help describes the command; path is its full name.
func (c command) help(path string) string {
	var b strings.Builder
	if c.run == nil {
		c.helpGroup(&b, path)
		return b.String()
	}
	fmt.Fprintf(&b, "%s: %s\n\nusage: %s", path, c.short, path)
	fs := c.flagSet(path)
	var flags []*flag.Flag
	fs.VisitAll(func(f *flag.Flag) { flags = append(flags, f) })
	if len(flags) > 0 {
		b.WriteString(" [flags]")
	}
	for _, name := range c.args {
		b.WriteString(" " + name)
	}
	b.WriteString("\n")
	for _, s := range c.sub {
		fmt.Fprintf(&b, "       %s %s ...: %s\n", path, s.name, s.short)
	}
	if c.long != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(c.long))
	}
	if len(flags) > 0 {
		b.WriteString("\nflags:\n")
		for _, f := range flags {
			b.WriteString(flagHelp(f))
		}
	}
	return b.String()
}

func (c command) helpGroup(b *strings.Builder, path string) {
	if c.short == "" {
		b.WriteString("grantd keeps OAuth grants alive: it stores, seals, refreshes and hands out tokens.\n\n")
	} else {
		fmt.Fprintf(b, "%s: %s\n\n", path, c.short)
	}
	fmt.Fprintf(b, "usage: %s COMMAND [flags] [arguments]\n\n", path)
	for _, s := range c.sub {
		fmt.Fprintf(b, "  %-14s %s\n", s.name, s.short)
	}
	fmt.Fprintf(b, "\n%s COMMAND --help says more. Exit status: 0 done, 1 failed, 2 used wrongly.\n", path)
}

// flagHelp is "  --name VALUE", and what it is for on the next line.
func flagHelp(f *flag.Flag) string {
	value, usage := flag.UnquoteUsage(f)
	head := "  --" + f.Name
	if value != "" {
		head += " " + strings.ToUpper(value)
	}
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
		usage += " (default " + f.DefValue + ")"
	}
	return head + "\n        " + usage + "\n"
}
