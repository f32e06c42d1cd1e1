//go:build failpoints

package node

import (
	"fmt"
	"os"
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
func failpoint() (func(actors.Point), error) {
	spec := os.Getenv("GRANTD_TEST_KILL_AT")
	if spec == "" {
		return nil, nil
	}
	point, n, pause, ok := parseFailpoint(spec)
	if !ok {
		return nil, fmt.Errorf("GRANTD_TEST_KILL_AT=%q: write POINT:COUNT or POINT:COUNT:PAUSE with a point of %v and a count from 1", spec, actors.Points())
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
