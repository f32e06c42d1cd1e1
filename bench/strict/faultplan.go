package strict

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// FaultStatus is a fault that was added, and what it did so far.
type FaultStatus struct {
	ID string
	Fault
	Fitted uint64 // requests that fitted its filters
	Struck uint64 // of them, those that it struck
}

// armedFault is a fault in use.
type armedFault struct {
	Fault
	id             string
	fitted, struck atomic.Uint64
}

// faults is the list of faults: read without a lock, written by copying.
type faults struct {
	mu   sync.Mutex // held by writers only
	next int
	list atomic.Pointer[[]*armedFault]
}

// set adds fs, in place of all others if replace; it returns their ids.
func (fs *faults) set(replace bool, add ...Fault) ([]string, error) {
	for _, f := range add {
		if err := f.Validate(); err != nil {
			return nil, err
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var list []*armedFault
	if old := fs.list.Load(); old != nil && !replace {
		list = append(list, *old...)
	}
	ids := make([]string, 0, len(add))
	for _, f := range add {
		if f.Endpoint == "" {
			f.Endpoint = EndpointToken
		}
		fs.next++
		id := "f" + strconv.Itoa(fs.next)
		list = append(list, &armedFault{Fault: f, id: id})
		ids = append(ids, id)
	}
	fs.list.Store(&list)
	return ids, nil
}

// remove takes one fault out, and reports whether it was there.
func (fs *faults) remove(id string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	old := fs.list.Load()
	if old == nil {
		return false
	}
	var list []*armedFault
	for _, f := range *old {
		if f.id != id {
			list = append(list, f)
		}
	}
	fs.list.Store(&list)
	return len(list) < len(*old)
}

func (fs *faults) status() []FaultStatus {
	var out []FaultStatus
	if list := fs.list.Load(); list != nil {
		for _, f := range *list {
			out = append(out, FaultStatus{ID: f.id, Fault: f.Fault, Fitted: f.fitted.Load(), Struck: f.struck.Load()})
		}
	}
	return out
}

// plan is what the faults do to one request.
type plan struct {
	before, after   time.Duration
	refuse          *Fault // answers in place of the provider; the first one added wins
	dropAnswer      bool
	truncate        bool
	noExpiresIn     bool
	stringExpiresIn bool
	noRefreshToken  bool
	size            int // of tokens; 0: as they are
	kinds           []FaultKind
}

// draw decides which faults strike a request.
func (fs *faults) draw(r *Request) plan {
	var p plan
	list := fs.list.Load()
	if list == nil {
		return p
	}
	for _, f := range *list {
		if f.fits(r) {
			if n, ok := f.strikes(); ok {
				p.add(f, n)
			}
		}
	}
	return p
}

func (f *armedFault) fits(r *Request) bool {
	return f.Endpoint == r.Endpoint &&
		(f.Client == "" || f.Client == r.Client) &&
		(f.GrantType == "" || f.GrantType == r.GrantType) &&
		(f.Fault.Grant == "" || f.Fault.Grant == r.Grant)
}

// strikes counts a request that fits and says whether it is struck; n tells it
// from others that fit.
func (f *armedFault) strikes() (n uint64, ok bool) {
	n = f.fitted.Add(1)
	if n <= uint64(f.Skip) {
		return n, false
	}
	if f.Probability > 0 && f.Probability < 1 && chance(f.Seed, n) >= f.Probability {
		return n, false
	}
	struck := f.struck.Add(1)
	if f.Count > 0 && struck > uint64(f.Count) {
		f.struck.Add(^uint64(0))
		return n, false
	}
	return n, true
}

// chance is a number in [0, 1) that looks random: splitmix64 of seed and n.
func chance(seed, n uint64) float64 {
	z := seed + n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

func (p *plan) add(f *armedFault, n uint64) {
	p.kinds = append(p.kinds, f.Kind)
	delay := f.Delay + time.Duration(chance(f.Seed^0x5bd1e995, n)*float64(f.Jitter))
	switch f.Kind {
	case FaultLatency:
		p.before += delay
	case FaultSlowAnswer:
		p.after += delay
	case FaultDropAnswer:
		p.dropAnswer = true
	case FaultTruncated:
		p.truncate = true
	case FaultNoExpiresIn:
		p.noExpiresIn = true
	case FaultStringExpiresIn:
		p.stringExpiresIn = true
	case FaultNoRefreshToken:
		p.noRefreshToken = true
	case FaultHugeToken:
		p.size = f.Size
		if p.size == 0 {
			p.size = 64 << 10
		}
	default:
		if p.refuse == nil {
			p.refuse = &f.Fault
		}
	}
}
