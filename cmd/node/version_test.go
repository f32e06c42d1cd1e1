package main

import (
	"encoding/json"
	"runtime/debug"
	"testing"
)

func TestVersionTellsWhatTheLinkerWrote(t *testing.T) {
	got := buildOf(&debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}})
	if want := (build{Version: "v1.2.3", Revision: "abc", Modified: true, Time: "2026-01-02T03:04:05Z", Go: "go1.26"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := buildOf(&debug.BuildInfo{}); got.Version != "(devel)" {
		t.Errorf("got %+v", got)
	}
	var printed build
	if out := runWith(nil, "", "version", "--json"); out.code != exitDone || json.Unmarshal([]byte(out.stdout), &printed) != nil || printed.Go == "" {
		t.Errorf("exit %d, stdout %q", out.code, out.stdout)
	}
}
