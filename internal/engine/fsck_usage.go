package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const (
	fsckCount  = 100_000 // items of the index that are counted in one snapshot
	fsckCounts = 3       // times that a scope with more is counted, while the index is changed meanwhile
)

// usage compares what each scope uses by its counter with what there is, fsckCount items in one snapshot: one that is held
// for long keeps the index file from using its room again. A scope with more is counted while nothing is changed, and passed
// over when that does not come about, which is said.
func (f *fsck) usage(ctx context.Context) error {
	var after ballast.Scope
	for {
		scope, ok, err := f.index.ScopeBehind(ctx, after)
		if err != nil || !ok {
			return err
		}
		after = scope
		kept, counted, err := f.count(ctx, scope)
		if errors.Is(err, index.ErrCorrupt) || errors.Is(err, index.ErrNewer) {
			f.skip("what %s uses of its quota: %v", scope, err)
			continue
		}
		if errors.Is(err, index.ErrMoved) {
			f.skip("what %s uses of its quota: it has over %d items, and something was changed each time while they were counted; check again when less goes on, or stop the service and use --offline", scope, fsckCount)
			continue
		}
		if err != nil {
			return err
		}
		if kept == counted {
			continue
		}
		finding := ballast.Finding{
			Kind: ballast.FindingCounter, Scope: scope.String(), What: fmt.Sprintf("what scope %s uses of its quota is counted wrongly: %s", scope, difference(kept, counted)),
			Do: doRepair, Repair: "the counter is corrected by the difference",
		}
		if err := f.found(ctx, finding, func(ctx context.Context) (bool, error) { return true, f.index.CorrectUsage(ctx, scope, kept, counted) }); err != nil {
			return err
		}
	}
}

// difference says which counters are wrong.
func difference(kept, counted ballast.Usage) string {
	var wrong []string
	for _, c := range []struct {
		what          string
		kept, counted int64
	}{
		{"bytes", kept.Bytes, counted.Bytes}, {"versions", kept.Versions, counted.Versions}, {"open uploads", kept.Uploads, counted.Uploads},
		{"bytes on their way", kept.UploadBytes, counted.UploadBytes}, {"reserved bytes", kept.ReservedBytes, counted.ReservedBytes},
		{"reserved versions", kept.ReservedVersions, counted.ReservedVersions},
	} {
		if c.kept != c.counted {
			wrong = append(wrong, fmt.Sprintf("%s %d and not %d", c.what, c.kept, c.counted))
		}
	}
	return strings.Join(wrong, ", ")
}

// count counts what a scope uses, a few times if need be.
func (f *fsck) count(ctx context.Context, scope ballast.Scope) (kept, counted ballast.Usage, err error) {
	for range fsckCounts {
		if kept, counted, err = f.index.CountUsage(ctx, scope, fsckCount); !errors.Is(err, index.ErrMoved) {
			break
		}
	}
	return kept, counted, err
}
