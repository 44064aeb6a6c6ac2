//go:build failpoints

package failpoint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOrders(t *testing.T) {
	for order, ok := range map[string]bool{
		"": true, "seal:before:kill": true, "put-record:after:kill:3": true, "close-index:before:hold": true, "tell:file": true,
		"seal": false, "seal:before": false, "nothing:before:kill": false, "seal:during:kill": false, "seal:before:stumble": false,
		"seal:before:kill:0": false, "seal:before:kill:once": false, "seal:before:kill:1:2": false, "tell:": false,
	} {
		if _, err := parse(order); (err == nil) != ok {
			t.Errorf("%q: %v", order, err)
		}
	}
}

func TestDoStopsAtTheMoment(t *testing.T) {
	defer Set(nil)
	for order, want := range map[string]struct {
		writes int
		fails  bool
	}{
		"seal:before:error:2":  {2, true},
		"seal:after:error:2":   {3, true},
		"seal:after:error:4":   {3, false},
		"ready:before:error:1": {3, false},
	} {
		h, err := parse(order)
		if err != nil {
			t.Fatal(err)
		}
		Set(h)
		writes, failed := 0, false
		for range 3 {
			err := Do(t.Context(), Seal, func(context.Context) error { writes++; return nil })
			failed = failed || errors.Is(err, ErrInjected)
		}
		if writes != want.writes || failed != want.fails {
			t.Errorf("%s: %d writes, failed %t; want %v", order, writes, failed, want)
		}
	}
}

func TestOrdersToTell(t *testing.T) {
	defer Set(nil)
	file := filepath.Join(t.TempDir(), "steps")
	h, err := parse("tell:" + file)
	if err != nil {
		t.Fatal(err)
	}
	Set(h)
	for _, s := range []Step{Seal, Ready, Seal} {
		if err := Do(t.Context(), s, func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if told, err := os.ReadFile(file); string(told) != "seal\nready\nseal\n" {
		t.Errorf("told is %q, %v", told, err)
	}
}
