//go:build failpoints

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/grantd/grantd/actors"
)

// failpoint reads GRANTD_TEST_KILL_AT, such as "answered:17": the process
// kills itself, as kill -9 would, when it passes that point of a refresh for
// the 17th time. With a third part, as in "settling:17:30ms", it stands at the
// point for that long before, while all else goes on.
//
// With GRANTD_TEST_CONTROL, the name of a folder, a file "kill" in it says the
// same of a process that runs already: the points are counted from the moment
// when the file is there.
func failpoint() (func(actors.Point), error) {
	spec, folder := os.Getenv("GRANTD_TEST_KILL_AT"), os.Getenv("GRANTD_TEST_CONTROL")
	switch {
	case spec != "":
		return killAt(spec)
	case folder != "":
		return killWhenTold(filepath.Join(folder, "kill")), nil
	}
	return nil, nil
}

// killAt returns what dies at the point.
func killAt(spec string) (func(actors.Point), error) {
	point, n, pause, ok := parseFailpoint(spec)
	if !ok {
		return nil, fmt.Errorf("kill at %q: write POINT:COUNT or POINT:COUNT:PAUSE with a point of %v and a count from 1", spec, actors.Points())
	}
	var left atomic.Int64
	left.Store(n)
	return func(p actors.Point) {
		if p == point && left.Add(-1) == 0 {
			time.Sleep(pause)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing after this point happens
		}
	}, nil
}

// killWhenTold returns what dies as the file says, once it is there. A process
// dies only once, so it is not read again.
func killWhenTold(file string) func(actors.Point) {
	var told atomic.Pointer[func(actors.Point)]
	return func(p actors.Point) {
		if told.Load() == nil {
			spec, err := os.ReadFile(file)
			if err != nil {
				return
			}
			die, err := killAt(string(spec))
			if err != nil {
				panic(err)
			}
			told.CompareAndSwap(nil, &die)
		}
		(*told.Load())(p)
	}
}

func parseFailpoint(spec string) (point actors.Point, count int64, pause time.Duration, ok bool) {
	name, rest, _ := strings.Cut(spec, ":")
	number, wait, paused := strings.Cut(rest, ":")
	count, err := strconv.ParseInt(number, 10, 64)
	if paused && err == nil {
		pause, err = time.ParseDuration(wait)
	}
	point = actors.Point(name)
	return point, count, pause, err == nil && count >= 1 && slices.Contains(actors.Points(), point)
}
