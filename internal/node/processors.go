package node

import (
	"os"
	"runtime"
)

// UseProcessors lets Go run on one processor more than the machine, or its
// container, has, unless the environment says otherwise. Under load one thread is always in a sync of
// the write-ahead log, and until the runtime's monitor notices, which can take
// milliseconds, it keeps the processor that it ran on from everybody else. It
// is for the start of a program. docs/decisions/0005 has the figures.
func UseProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
