//go:build linux

package index_test

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"testing"
	"text/tabwriter"
	"time"
)

// scaleTable is what a run of BenchmarkScale prints at its end.
type scaleTable struct{ rows []scaleRow }

// scaleRow compares two times, round by round.
type scaleRow struct {
	what     string
	from, to string // what is compared
	goal     float64
	rounds   []scaleRound
}

type scaleRound struct{ from, to time.Duration }

func (r scaleRound) ratio() float64 { return float64(r.to) / float64(r.from) }

// compare runs rounds as a benchmark of its own and makes a row of them.
func (t *scaleTable) compare(b *testing.B, name string, row scaleRow, round func(b *testing.B) scaleRound) {
	b.Run(name, func(b *testing.B) {
		row.rounds = nil
		for b.Loop() {
			for range scaleRounds {
				row.rounds = append(row.rounds, round(b))
			}
		}
		ratios := row.of(scaleRound.ratio)
		b.ReportMetric(ratios[len(ratios)/2], "ratio")
		b.ReportMetric(ratios[0], "ratio-min")
		b.ReportMetric(ratios[len(ratios)-1], "ratio-max")
		b.ReportMetric(0, "ns/op") // a round is no unit of anything
		t.rows = append(t.rows, row)
	})
}

// of returns a figure of every round, in ascending order.
func (r scaleRow) of(figure func(scaleRound) float64) []float64 {
	var all []float64
	for _, round := range r.rounds {
		all = append(all, figure(round))
	}
	slices.Sort(all)
	return all
}

func (r scaleRow) median(figure func(scaleRound) time.Duration) time.Duration {
	all := r.of(func(round scaleRound) float64 { return float64(figure(round)) })
	return time.Duration(all[len(all)/2])
}

// print writes the table: medians over the rounds, the least and the greatest ratio beside theirs.
func (t *scaleTable) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nwhat\tfrom\tto\ttime from\ttime to\tratio\tleast–greatest\tgoal")
	for _, r := range t.rows {
		ratios := r.of(scaleRound.ratio)
		goal := "none"
		if r.goal > 0 {
			verdict := "held"
			if ratios[len(ratios)/2] > r.goal {
				verdict = "missed"
			}
			goal = fmt.Sprintf("≤ %.1f %s", r.goal, verdict)
		}
		from := r.median(func(s scaleRound) time.Duration { return s.from })
		to := r.median(func(s scaleRound) time.Duration { return s.to })
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f–%.2f\t%s\n", r.what, r.from, r.to, short(from), short(to), ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], goal)
	}
	w.Flush()
}

// short rounds a time to three digits.
func short(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// p99 returns the 99th percentile.
func p99(all []time.Duration) time.Duration {
	slices.SortFunc(all, cmp.Compare)
	return all[len(all)*99/100]
}
