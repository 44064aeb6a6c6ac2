//go:build failpoints

package failpoint

import (
	"context"
	"errors"
	"testing"
)

func TestOrders(t *testing.T) {
	for order, ok := range map[string]bool{
		"": true, "seal:before:kill": true, "put-record:after:kill:3": true,
		"seal": false, "seal:before": false, "nothing:before:kill": false, "seal:during:kill": false, "seal:before:stumble": false,
		"seal:before:kill:0": false, "seal:before:kill:once": false, "seal:before:kill:1:2": false,
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
