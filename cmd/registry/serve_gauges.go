package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// gaugeLook bounds what one look at the metrics may take for each thing that is asked.
const gaugeLook = 5 * time.Second

// registerGauges has the state of the service read when somebody looks at the metrics, so that no request pays for it.
func (s *serving) registerGauges(inFlight *inFlight) {
	gauge := func(name, help string, read func() float64) {
		s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("ballast_http_in_flight_requests", "Requests that are being answered, those that wait included.", func() float64 { return float64(inFlight.n.Load()) })
	gauge("ballast_disk_free_bytes", "Free on the disk of the data folder; -1 when it cannot be told.", func() float64 {
		free, err := freeBytes(s.data)
		if err != nil {
			return -1
		}
		return float64(free)
	})
	gauge("ballast_disk_min_free_bytes", "What --min-free is: with less, changes are refused.", func() float64 {
		least, _ := s.cmd.minFree() // which was checked
		return float64(least)
	})
	gauge("ballast_ready", "1 when /readyz is green, else 0.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), gaugeLook)
		defer cancel()
		return truth(s.engine.Ready(ctx) == nil)
	})
	gauge("ballast_read_only", "1 once the registry lost its claim on the bucket or found itself older than it, until it is started anew; else 0.", func() float64 {
		return truth(s.engine.ReadOnly() != nil)
	})
	gauge("ballast_snapshot_age_seconds", "Since the newest snapshot of the index was made or last seen to hold everything, the start while there is none; -1 when none are made or it cannot be told.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), gaugeLook)
		defer cancel()
		age, ok, err := s.engine.SinceSnapshot(ctx)
		if err != nil || !ok {
			return -1
		}
		return age.Seconds()
	})
	gauge("ballast_gc_age_seconds", "Since the last run of gc ended that did all it had to, the start while there was none.", func() float64 { return s.engine.SinceGC().Seconds() })
	for name, g := range map[string]struct {
		help string
		kind func(context.Context) (int, error)
	}{
		"ballast_verify_queue_length": {"Objects that wait to be re-read, or are.", s.index.VerifyQueueLength},
		"ballast_pending_records":     {"Retirements and deletions whose record is not in the bucket yet, up to 1,000.", s.pendingRecords},
		"ballast_finishing_uploads":   {"Accepted commits that are not settled yet.", s.finishing},
		"ballast_open_uploads":        {"Uploads and imports that are not settled, those included that are finishing.", s.index.OpenUploads},
	} {
		gauge(name, g.help+" -1 when it cannot be told.", func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), gaugeLook)
			defer cancel()
			n, err := g.kind(ctx)
			if err != nil {
				return -1
			}
			return float64(n)
		})
	}
}

func (s *serving) pendingRecords(ctx context.Context) (int, error) {
	keys, err := s.index.PendingEnds(ctx, 1000)
	return len(keys), err
}

func (s *serving) finishing(ctx context.Context) (int, error) {
	ids, err := s.index.Verifying(ctx)
	return len(ids), err
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// watchLeases times what is left of the leases of uploads. The uses are a closed set, so each is there before anything happens.
func (s *serving) watchLeases() func(engine.LeaseUse, time.Duration) {
	left := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ballast_lease_left_seconds", Help: "What was left of the lease of an upload when it was used (renewed, committed) or had run out (parts, expired).",
		Buckets: []float64{0, 15, 60, 180, 300, 600, 840}, // of the 15 minutes that a lease has
	}, []string{"use"})
	s.registry.MustRegister(left)
	of := map[engine.LeaseUse]prometheus.Observer{}
	for _, use := range engine.LeaseUses() {
		of[use] = left.WithLabelValues(string(use))
	}
	return func(use engine.LeaseUse, rest time.Duration) { of[use].Observe(rest.Seconds()) }
}

// watchUpdates counts what changes states in the index and times it. Steps are a closed set, so each has its counter before
// anything happens.
func (s *serving) watchUpdates() func(failpoint.Step, time.Duration, error) {
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ballast_index_update_seconds", Help: "Duration of transactions that change the index, waiting for the disk included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8), // 0.5 ms … 8 s
	})
	steps := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ballast_transitions_total", Help: "Changes of state of uploads, blobs, versions and the rest, by step and outcome (ok or refused).",
	}, []string{"step", "outcome"})
	s.registry.MustRegister(seconds, steps)
	done, refused := map[failpoint.Step]prometheus.Counter{}, map[failpoint.Step]prometheus.Counter{}
	for _, step := range failpoint.Steps() {
		done[step], refused[step] = steps.WithLabelValues(step.String(), "ok"), steps.WithLabelValues(step.String(), "refused")
	}
	return func(step failpoint.Step, took time.Duration, err error) {
		seconds.Observe(took.Seconds())
		if err != nil {
			refused[step].Inc()
			return
		}
		done[step].Inc()
	}
}
