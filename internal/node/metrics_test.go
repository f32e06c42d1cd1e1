package node

import (
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/cluster/route"
)

// TestEveryCounterIsAMetric gives each counter a number of its own and looks
// for it among the figures.
func TestEveryCounterIsAMetric(t *testing.T) {
	var a actors.Counters
	var r route.Counters
	for _, c := range []struct {
		counters any
		figures  figures
	}{
		{&a, actorFigures(&a, func() int { return 0 })},
		{&r, routeFigures("accounts", &r)},
	} {
		v := reflect.ValueOf(c.counters).Elem()
		for i := range v.NumField() {
			if n, ok := v.Field(i).Addr().Interface().(*atomic.Int64); ok {
				n.Store(int64(1000 + i))
			}
		}
		var told []float64
		for _, f := range c.figures {
			told = append(told, f.value())
		}
		for i := range v.NumField() {
			if _, ok := v.Field(i).Addr().Interface().(*atomic.Int64); ok && !slices.Contains(told, float64(1000+i)) {
				t.Errorf("%s of %T is not among the metrics", v.Type().Field(i).Name, c.counters)
			}
		}
	}
}

// TestMetricsAreRegisteredTogether finds names that two collectors share.
func TestMetricsAreRegisteredTogether(t *testing.T) {
	reg := newRegistry("v0")
	reg.MustRegister(actorFigures(&actors.Counters{}, func() int { return 0 }), append(routeFigures("accounts", &route.Counters{}), routeFigures("registry", &route.Counters{})...))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "grantd_route_") && len(f.GetMetric()) != 2 {
			t.Errorf("%s: %v", name, f)
		}
	}
}
