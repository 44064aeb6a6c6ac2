package client_test

import (
	"bytes"
	"maps"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

const publishers = 20

// publish has all of them push a folder of their own at once.
func publish(w *world, c *client.Client, target string) (results [publishers]client.PushResult, errs [publishers]error) {
	var wg sync.WaitGroup
	for i := range publishers {
		dir := folder(w.t, map[string][]byte{"model.bin": mib(1, byte(i)), "number": {byte(i)}})
		wg.Go(func() { results[i], errs[i] = w.push(c, dir, target, client.PushOptions{}) })
	}
	wg.Wait()
	return results, errs
}

func TestTwentyPublishersOfOneNameGetTwentyVersions(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		_, errs := publish(w, c, "m")
		for i, err := range errs {
			if err != nil {
				t.Errorf("publisher %d: %v", i, err)
			}
		}
		seen := make(map[string]bool)
		for v, err := range c.Versions(t.Context(), ref(t, "m"), ballast.VersionFilter{}) {
			w.must(err)
			seen[v.Key] = true
		}
		if len(seen) != publishers {
			t.Errorf("%d versions are listed", len(seen))
		}
	})
}

func TestOfTwentyPublishersOfOneLabelOneWins(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		results, errs := publish(w, c, "m:1.0.0")
		winner := -1
		for i, err := range errs {
			switch code := ballast.CodeOf(err); {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Errorf("publishers %d and %d both won", winner, i)
			case code != ballast.CodeConflict && code != ballast.CodeAlreadyExists:
				t.Errorf("publisher %d: %v", i, err)
			case results[i].Sent > 0:
				t.Errorf("publisher %d lost after it had sent %d bytes", i, results[i].Sent)
			}
		}
		if winner < 0 {
			t.Fatal("nobody won")
		}
		dir := t.TempDir()
		_, err := w.pull(c, "m:1.0.0", dir, client.PullOptions{})
		w.must(err)
		if want := map[string][]byte{"model.bin": mib(1, byte(winner)), "number": {byte(winner)}}; !maps.EqualFunc(contents(t, dir), want, bytes.Equal) {
			t.Error("what is published is not the winner's")
		}
	})
}
