package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route, never by what stands in a path.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	none     *routeMetrics
}

// routeMetrics are the series of one route, looked up once.
type routeMetrics struct {
	requests *prometheus.CounterVec // by status
	ok       prometheus.Counter     // of status 200, which is most of them
	seconds  prometheus.Observer
}

func newMetrics(reg prometheus.Registerer, log *slog.Logger) *metrics {
	m := &metrics{
		requests: register(reg, log, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grantd_http_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"method", "route", "status"})),
		seconds: register(reg, log, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grantd_http_request_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"})),
	}
	m.none = m.series("other", "none")
	return m
}

// register hands the collector to reg. A second API on the same registerer
// shares the collectors of the first.
func register[C prometheus.Collector](reg prometheus.Registerer, log *slog.Logger, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if same, ok := already.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil {
		log.Warn("metrics of the HTTP API are not counted", "error", err)
	}
	return c
}

func (m *metrics) route(rt *route) *routeMetrics { return m.series(rt.method, rt.path) }

func (m *metrics) series(method, path string) *routeMetrics {
	requests := m.requests.MustCurryWith(prometheus.Labels{"method": method, "route": path})
	return &routeMetrics{
		requests: requests,
		ok:       requests.WithLabelValues("200"),
		seconds:  m.seconds.WithLabelValues(method, path),
	}
}

// observe counts one answer. rt is nil when no route matched.
func (m *metrics) observe(rt *route, status int, took time.Duration) {
	r := m.none
	if rt != nil {
		r = rt.metrics
	}
	r.seconds.Observe(took.Seconds())
	if status == http.StatusOK {
		r.ok.Inc()
		return
	}
	r.requests.WithLabelValues(strconv.Itoa(status)).Inc()
}
