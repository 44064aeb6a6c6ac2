package index_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/internal/index"
)

// TestRestore holds what a benchmark loads to what publishing, retiring and deleting leave behind, byte by byte: an index
// where less is to be found is a fast one.
func TestRestore(t *testing.T) {
	published := index.NewMem()
	w := newWorld(t, published)
	var versions []index.Version
	for _, target := range []string{"global::base::1", "acme::m::1", "acme::m::2", "acme::m::6.0.0-rc.1", "acme::m::4", "acme::m::5"} {
		w.clock = w.clock.Add(1)
		if target == "acme::m::2" {
			w.publishOn("base::1", target, "tuned")
		} else {
			w.publish(target, "content of "+target)
		}
	}
	for _, k := range []string{"acme::m::4", "acme::m::5"} {
		end := w.Retire
		if k == "acme::m::5" {
			end = w.Delete
		}
		v, err := end(w.ctx, vkey(k), index.Change{By: "ci@acme"}, record)
		w.ok(err)
		_, err = w.Recorded(w.ctx, v.Key(), v.Records+1)
		w.ok(err)
	}
	for _, k := range []string{"base::1", "acme::m::1", "acme::m::2", "acme::m::6.0.0-rc.1", "acme::m::4", "acme::m::5"} {
		versions = append(versions, must(w.Version(w.ctx, vkey(k))))
	}
	want := catalogue(t, published)

	restored := index.NewMem()
	w.ok(newWorld(t, restored).Restore(w.ctx, versions))
	if got := catalogue(t, restored); !maps.Equal(got, want) {
		t.Errorf("restored:\n%s\npublished:\n%s", dump(got), dump(want))
	}
	less := index.NewMem()
	w.ok(newWorld(t, less).Restore(w.ctx, versions[1:]))
	if maps.Equal(catalogue(t, less), want) {
		t.Error("an index without one of the versions is the same")
	}
}

// catalogue returns the items that resolve and list versions, those of aliases and production aside.
func catalogue(t *testing.T, s index.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.View(t.Context(), func(tx index.Tx) (err error) {
		for _, kind := range index.KindsOfVersions {
			for item, bad := range tx.Scan([]byte{kind}, nil, false) {
				err = errors.Join(err, bad)
				all[string(item.Key)] = string(item.Value)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func dump(items map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(items)) {
		b.WriteString(strings.ToValidUTF8(k+" = "+items[k], "?") + "\n")
	}
	return b.String()
}
