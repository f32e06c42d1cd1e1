package main

import (
	"context"
	"flag"
	"runtime/debug"
)

// build is what the binary says about itself.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // of the sources; empty: not known
	Modified bool   `json:"modified"` // the sources had changes that were not committed
	Time     string `json:"time"`     // of the revision
	Go       string `json:"go"`
}

// buildOf reads what the Go linker wrote into the binary.
func buildOf(info *debug.BuildInfo) build {
	b := build{Version: info.Main.Version, Go: info.GoVersion}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// thisBuild is the running binary.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info)
}

func versionCommand() command {
	var asJSON bool
	return command{
		name:  "version",
		short: "print which version this is",
		flags: func(fs *flag.FlagSet) { registerJSON(fs, &asJSON) },
		run: func(_ context.Context, in *input) error {
			b := thisBuild()
			revision := b.Revision
			if b.Modified {
				revision += " (modified)"
			}
			return show(in.Stdout, asJSON, b,
				[]string{"version", b.Version}, []string{"revision", revision}, []string{"time", b.Time}, []string{"go", b.Go})
		},
	}
}
