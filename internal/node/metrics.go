package node

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/storage"
)

// newRegistry returns a metrics registry of its own: nothing registers on the
// library's global one.
func newRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "grantd_build_info", Help: "1, with the version of this build.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// figure is one number that is read when it is asked for.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func() float64
}

// figures is a prometheus.Collector over numbers that others keep.
type figures []figure

// Describe implements prometheus.Collector.
func (f figures) Describe(ch chan<- *prometheus.Desc) {
	for _, x := range f {
		ch <- x.desc
	}
}

// Collect implements prometheus.Collector.
func (f figures) Collect(ch chan<- prometheus.Metric) {
	for _, x := range f {
		ch <- prometheus.MustNewConstMetric(x.desc, x.kind, x.value())
	}
}

func (f *figures) add(kind prometheus.ValueType, name, help string, value func() float64, labels ...string) {
	constant := prometheus.Labels{}
	for i := 0; i+1 < len(labels); i += 2 {
		constant[labels[i]] = labels[i+1]
	}
	*f = append(*f, figure{prometheus.NewDesc("grantd_"+name, help, nil, constant), kind, value})
}

// actorFigures are the counters of the account actors, as metrics.
func actorFigures(c *actors.Counters, openCircuits func() int) figures {
	var f figures
	counter := func(name, help string, v interface{ Load() int64 }, labels ...string) {
		f.add(prometheus.CounterValue, name, help, func() float64 { return float64(v.Load()) }, labels...)
	}
	const requests, requestsHelp = "refresh_requests_total", "Token requests to providers by outcome."
	counter(requests, requestsHelp, &c.Refreshed, "outcome", "refreshed")
	counter(requests, requestsHelp, &c.FailedTransient, "outcome", "transient")
	counter(requests, requestsHelp, &c.FailedTerminal, "outcome", "terminal")
	counter(requests, requestsHelp, &c.Misconfigured, "outcome", "misconfigured")
	counter(requests, requestsHelp, &c.Ambiguous, "outcome", "ambiguous")
	counter(requests, requestsHelp, &c.Unrecognised, "outcome", "unrecognised")
	counter("accounts_needs_reauth_total", "Accounts that went to needs_reauth.", &c.NeedsReauth)
	counter("refresh_interrupted_total", "Claims found without an outcome.", &c.Interrupted)
	const salvaged, salvagedHelp = "refresh_salvaged_total", "Interrupted refreshes whose answer was found, by where: in this node's journal, at another node that was asked for it, or offered by one."
	counter(salvaged, salvagedHelp, &c.Salvaged, "from", "journal")
	counter(salvaged, salvagedHelp, &c.SalvagedByFate, "from", "fate")
	counter(salvaged, salvagedHelp, &c.SalvagedByOffer, "from", "offer")
	const fates, fatesHelp = "refresh_fates_total", "What other nodes said of claims of theirs that were found here without an outcome."
	counter(fates, fatesHelp, &c.FatesNeverSent, "fate", "never_sent")
	counter(fates, fatesHelp, &c.FatesInFlight, "fate", "in_flight")
	counter(fates, fatesHelp, &c.FatesAnswered, "fate", "answered")
	counter(fates, fatesHelp, &c.FatesUnknown, "fate", "unknown")
	counter(fates, fatesHelp, &c.FatesUntold, "fate", "untold")
	const offers, offersHelp = "refresh_offers_total", "Answers of journals: made and taken count this node's, offered to the owners of their accounts; received counts what was offered to accounts owned here."
	counter(offers, offersHelp, &c.OffersMade, "what", "made")
	counter(offers, offersHelp, &c.OffersTaken, "what", "taken")
	counter(offers, offersHelp, &c.OffersReceived, "what", "received")
	counter("refresh_answers_dropped_total", "Answers in this node's journal that were given up: nobody took them for a week, or they are unreadable.", &c.AnswersDropped)
	counter("refresh_uncertain_retries_total", "Refresh tokens of interrupted refreshes presented once more.", &c.UncertainRetries)
	counter("refresh_outcomes_lost_total", "Grants lost because the answer of a refresh was lost.", &c.OutcomesLost)
	counter("refresh_discarded_total", "Answers for credentials that had been replaced meanwhile.", &c.Discarded)
	counter("revocations_total", "Grants of disconnected accounts that the provider revoked.", &c.Revoked)
	counter("revocations_failed_total", "Grants of disconnected accounts that the provider did not revoke.", &c.RevocationsFailed)
	counter("commit_failures_total", "Writes of accounts that were not known to be committed.", &c.CommitFailures)
	counter("actor_panics_total", "Panics in account actors.", &c.Panics)
	const reads, readsHelp = "tokens_read_total", "Tokens handed out past the mailbox, by where they were read."
	counter(reads, readsHelp, &c.SnapshotReads, "from", "snapshot")
	counter(reads, readsHelp, &c.StoreReads, "from", "store")
	counter("lease_proofs_total", "Requests for which the ownership of a shard had to be proved, because the node had not heard of a majority for a while.", &c.Proofs)
	f.add(prometheus.GaugeValue, "actor_requests_waiting", "Requests of callers inside account actors.", func() float64 { return float64(c.Waiting.Load()) })
	f.add(prometheus.GaugeValue, "actors", "Accounts with an actor.", func() float64 { return float64(c.Actors.Load()) })
	f.add(prometheus.GaugeValue, "provider_circuits_open", "Integrations whose provider is being left alone after failures.", func() float64 { return float64(openCircuits()) })
	f.add(prometheus.CounterValue, "schedule_refreshes_total", "Refreshes begun by the schedule.", func() float64 { n, _, _ := c.ScheduledLag.Values(); return float64(n) })
	f.add(prometheus.CounterValue, "schedule_lag_seconds_total", "Sum of the delays with which they began.", func() float64 { _, sum, _ := c.ScheduledLag.Values(); return sum.Seconds() })
	f.add(prometheus.GaugeValue, "schedule_lag_max_seconds", "The largest of these delays since the start.", func() float64 { _, _, m := c.ScheduledLag.Values(); return m.Seconds() })
	return f
}

// feedFigures are the counters of the event stream, as metrics.
func feedFigures(c *feed.Counters) figures {
	var f figures
	counter := func(name, help string, v interface{ Load() int64 }) {
		f.add(prometheus.CounterValue, name, help, func() float64 { return float64(v.Load()) })
	}
	f.add(prometheus.GaugeValue, "event_streams", "Event streams that are open.", func() float64 { return float64(c.Open.Load()) })
	counter("events_sent_total", "Events handed to the readers of event streams.", &c.Sent)
	counter("event_gaps_total", "Gaps that readers of event streams were told of: events were dropped before they were read.", &c.Gaps)
	counter("events_lost_total", "Events in these gaps.", &c.Lost)
	counter("event_reads_failed_total", "Reads of outboxes for event streams that failed; they are repeated.", &c.Failed)
	return f
}

var _ prometheus.Collector = figures(nil)

// storeFigures are the figures of the node's store, as metrics.
func storeFigures(metrics func() storage.Metrics) figures {
	var f figures
	gauge := func(name, help string, value func(storage.Metrics) float64) {
		f.add(prometheus.GaugeValue, "store_"+name, help, func() float64 { return value(metrics()) })
	}
	gauge("disk_bytes", "Size of all files of the store.", func(m storage.Metrics) float64 { return float64(m.DiskBytes) })
	gauge("memtable_bytes", "Written and not yet flushed.", func(m storage.Metrics) float64 { return float64(m.MemTableBytes) })
	gauge("cache_bytes", "Blocks in the cache.", func(m storage.Metrics) float64 { return float64(m.CacheBytes) })
	gauge("compaction_debt_bytes", "Estimate of what is to be compacted.", func(m storage.Metrics) float64 { return float64(m.CompactionDebtBytes) })
	gauge("read_amplification", "Files that a read may have to look at.", func(m storage.Metrics) float64 { return float64(m.ReadAmplification) })
	gauge("wal_written_bytes", "Written to the write-ahead log since the start.", func(m storage.Metrics) float64 { return float64(m.WALBytesWritten) })
	return f
}
