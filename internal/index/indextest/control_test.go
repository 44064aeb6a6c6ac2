package indextest

import (
	"context"
	"slices"
	"testing"

	"github.com/ballast-registry/ballast/internal/index"
)

// controls says for each fault which checks must catch it. A fault that several checks see names those made for it.
var controls = map[fault][]string{
	"lost updates":           {"counters", "history"},
	"dirty views":            {"view beside an update"},
	"no rollback":            {"rollback"},
	"commits failures":       {"rollback", "failures beside successes", "history", "model"},
	"views wait":             {"view beside an update"},
	"views move":             {"update beside a view"},
	"views lag":              {"get put delete", "history"},
	"views write":            {"read only"},
	"runs twice":             {"fn runs again", "counters"},
	"context ignored":        {"context done before", "context done in fn", "failures beside successes"},
	"open after close":       {"closed"},
	"close hurries":          {"close waits"},
	"transactions stay open": {"transaction over"},
	"limits forgiven":        {"limit ignored by fn"},
	"limits off by one":      {"touched keys", "touched bytes"},
	"no key limit":           {"key length"},
	"no value limit":         {"value length", "limit ignored by fn"},
	"absent is empty":        {"get put delete", "model"},
	"absent is an error":     {"get put delete", "model"},
	"empty is absent":        {"empty value", "model"},
	"from ignored":           {"scan", "model"},
	"from excluded":          {"scan", "model"},
	"empty from is nil":      {"scan", "model"},
	"prefix ignored":         {"scan", "model"},
	"prefix without end":     {"scan", "model"},
	"reverse ignored":        {"scan", "model"},
	"scans move":             {"write while scanning"},
}

// modelExamples is the model check with programs that are the same every time.
var modelExamples = Check{"model", func(ctx context.Context, s index.Store) error {
	for seed := range 100 {
		if err := modelRun(ctx, s, modelProgram().Example(seed)); err != nil {
			return err
		}
	}
	return nil
}}

func TestChecksPassGoodStore(t *testing.T) {
	for _, c := range append(Checks(), modelExamples) {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(t.Context(), newToy("")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestChecksCatchFaults(t *testing.T) {
	checks := append(Checks(), modelExamples)
	for f, names := range controls {
		for _, name := range names {
			t.Run(string(f)+"/"+name, func(t *testing.T) {
				t.Parallel()
				i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
				if i < 0 {
					t.Fatal("no such check")
				}
				err := checks[i].Run(t.Context(), newToy(f))
				if err == nil {
					t.Error("the check passed")
				}
				t.Log(err)
			})
		}
	}
}

func TestDurableCatchesLoss(t *testing.T) {
	forget := func(index.Store) index.Store { return newToy("") }
	if err := checkDurable(t.Context(), newToy(""), forget); err == nil {
		t.Error("the check passed")
	}
	keep := func(s index.Store) index.Store {
		again := newToy("")
		again.state = s.(*toy).state
		return again
	}
	if err := checkDurable(t.Context(), newToy(""), keep); err != nil {
		t.Error(err)
	}
}
