// Command certs makes what the nodes of a cluster prove themselves to each other
// with: a certificate authority, certificates of nodes and of co-located
// services, and the key of the gossip between nodes.
//
//	go run ./scripts/certs --dir DIR node n1 n2 n3
//	go run ./scripts/certs --dir DIR client billing
//	go run ./scripts/certs --dir DIR new-ca
//	go run ./scripts/certs --dir DIR drop-old-ca
//
// It promises to keep the authority and the gossip key that it finds, to write
// every file whole or not at all, for its owner only, and never to print a key.
// A certificate that exists is made anew: a running node takes it over by
// itself.
//
// new-ca and drop-old-ca exchange the authority without downtime. After new-ca,
// ca.pem holds the new authority and the old one: give it to every node. Then
// make all certificates anew, and give them out. Then drop-old-ca, and give out
// ca.pem once more.
//
// Keep ca-key.pem away from the nodes: whoever has it can be any of them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() { os.Exit(run(os.Args[1:], time.Now(), os.Stdout, os.Stderr)) }

const usage = `usage: certs [--dir DIR] [--ca-days N] [--days N] COMMAND

  node NAME...    make certificates of nodes, and what is missing of authority and gossip key
  client NAME...  make certificates of co-located services
  new-ca          make a new authority; ca.pem holds the old one as well
  drop-old-ca     leave only the newest authority in ca.pem

`

// errUsage is an error of the one who typed.
var errUsage = errors.New("wrong usage")

// run returns the exit status: 0 for done, 1 for failed, 2 for used wrongly.
func run(args []string, now time.Time, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("certs", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	f := folder{now: now, out: stdout}
	flags.StringVar(&f.dir, "dir", "certs", "folder of all files")
	caDays := flags.Int("ca-days", 3650, "days that a new authority lasts")
	days := flags.Int("days", 365, "days that a certificate lasts, but not longer than its authority")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	f.caLife, f.life = time.Duration(*caDays)*24*time.Hour, time.Duration(*days)*24*time.Hour
	err := f.do(flags.Args())
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "certs: %v\n%s", err, usage)
		return 2
	default:
		fmt.Fprintf(stderr, "certs: %v\n", err)
		return 1
	}
}

// do carries out one command.
func (f *folder) do(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	if f.life <= 0 || f.caLife <= 0 {
		return fmt.Errorf("%w: a life of no days", errUsage)
	}
	command, names := args[0], args[1:]
	switch command {
	case "node", "client":
		if len(names) == 0 {
			return fmt.Errorf("%w: %s needs names", errUsage, command)
		}
		return f.issue(command, names)
	case "new-ca", "drop-old-ca":
		if len(names) > 0 {
			return fmt.Errorf("%w: %s takes no names", errUsage, command)
		}
		if command == "new-ca" {
			return f.newAuthority()
		}
		return f.dropOldAuthority()
	default:
		return fmt.Errorf("%w: unknown command %q", errUsage, command)
	}
}
