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

	"github.com/grantd/grantd/actors"
)

// failpoint reads GRANTD_TEST_KILL_AT, such as "answered:17": the process
// kills itself, as kill -9 would, when it passes that point of a refresh for
// the 17th time.
func failpoint() (func(actors.Point), error) {
	spec := os.Getenv("GRANTD_TEST_KILL_AT")
	if spec == "" {
		return nil, nil
	}
	name, count, _ := strings.Cut(spec, ":")
	point := actors.Point(name)
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 || !slices.Contains(actors.Points(), point) {
		return nil, fmt.Errorf("GRANTD_TEST_KILL_AT=%q: write POINT:COUNT with a point of %v and a count from 1", spec, actors.Points())
	}
	var left atomic.Int64
	left.Store(n)
	return func(p actors.Point) {
		if p == point && left.Add(-1) == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing after this point happens
		}
	}, nil
}
