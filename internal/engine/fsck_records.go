package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// recordsOf holds the version records of a scope against its versions: every record of the bucket is one that the index
// knows, and the records of every version make that version.
func (f *fsck) recordsOf(ctx context.Context, scope ballast.Scope) error {
	for obj, err := range f.bucket.List(ctx, scope.Path()+"/models/", "") {
		if err != nil {
			return err
		}
		f.objects.Add(1)
		if err := f.record(ctx, scope, obj); err != nil {
			return err
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(fsckWorkers)
	for after := []byte(nil); ; {
		page, next, err := f.index.VersionsFrom(gctx, scope, after, fsckPage)
		if err != nil {
			return errors.Join(group.Wait(), err)
		}
		for _, kept := range page {
			f.versions.Add(1)
			group.Go(func() error { return f.version(gctx, kept) })
		}
		if next == nil {
			return group.Wait()
		}
		after = next
	}
}

// record judges an object under models/. The index knows a record before it is in the bucket.
func (f *fsck) record(ctx context.Context, scope ballast.Scope, obj objstore.Object) error {
	k, n, ok := parseRecordPath(scope, obj.Key)
	if !ok {
		return f.foreign(ctx, scope, obj.Key)
	}
	known, err := f.index.KnowsRecord(ctx, k, n)
	if err != nil || known {
		return err
	}
	return f.found(ctx, ballast.Finding{
		Kind: ballast.FindingRecordUnknown, Scope: scope.String(), Object: obj.Key, Versions: []string{k.String()},
		What: fmt.Sprintf("the bucket has record %d of %s, which the index does not know: the index is older than the bucket, or somebody else wrote it", n, k), Do: doRebuild,
	}, nil)
}

// version judges a version's records, and says when it is lost.
func (f *fsck) version(ctx context.Context, kept index.KeptVersion) error {
	k := kept.Version.Key()
	if kept.Version.Status == ballast.StatusLost {
		finding := ballast.Finding{
			Kind: ballast.FindingLost, Scope: k.Scope.String(), Versions: []string{k.String()}, Digest: kept.Version.Digest,
			What: fmt.Sprintf("%s is not served: bytes of it are lost", k), Do: "push the same files again: ballast push FOLDER " + ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}.String(),
		}
		if why := kept.Version.Refused; why != "" {
			finding.What = fmt.Sprintf("%s is not served: a rebuild refused what the bucket says of it: %s", k, why)
			finding.Do = "put its records right from a copy of the bucket and run ballast rebuild; until then no object of the scope is removed that may be one of its files"
		}
		if err := f.found(ctx, finding, nil); err != nil {
			return err
		}
	}
	if kept.Version.Refused != "" && kept.Version.Records == 0 {
		return nil // nothing is known of it but that others name it as their base
	}
	found, err := f.judge(ctx, kept)
	if err != nil || len(found) == 0 {
		return err
	}
	before, err := f.index.KeptVersion(ctx, k)
	if err != nil {
		return ignoreGone(err)
	}
	if found, err = f.judge(ctx, before); err != nil {
		return err
	}
	after, err := f.index.KeptVersion(ctx, k)
	if err != nil || !reflect.DeepEqual(before, after) { // it is being changed; another run tells
		return ignoreGone(err)
	}
	for _, finding := range found {
		if err := f.found(ctx, finding, nil); err != nil {
			return err
		}
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, index.ErrNotFound) {
		return nil
	}
	return ignoreDamage(err)
}

// judge lists the records of a version and holds them against it.
func (f *fsck) judge(ctx context.Context, kept index.KeptVersion) (found []ballast.Finding, err error) {
	v := kept.Version
	k := v.Key()
	folder := recordPath(k, 1)
	folder = folder[:len(folder)-len("00000001.json")]
	var objects []string
	for obj, err := range f.bucket.List(ctx, folder, "") {
		if err != nil {
			return nil, err
		}
		if _, _, ok := parseRecordPath(k.Scope, obj.Key); !ok {
			continue // which f.record reports
		}
		if objects = append(objects, obj.Key); len(objects) > maxChain {
			break
		}
	}
	add := func(kind ballast.FindingKind, what, do string) {
		found = append(found, ballast.Finding{Kind: kind, Scope: k.Scope.String(), Object: folder, Versions: []string{k.String()}, Digest: v.Digest, What: what, Do: do})
	}
	for i, object := range objects {
		if object != recordPath(k, i+1) {
			add(ballast.FindingRecordMissing, fmt.Sprintf("the bucket has no record %d of %s, and a later one", i+1, k), doRecords)
			return found, nil
		}
	}
	if len(objects) < v.Records {
		add(ballast.FindingRecordMissing, fmt.Sprintf("%s is %s, and the bucket has %d of its %d records: a rebuild would not know that", k, v.Status, len(objects), v.Records), doRecords)
		return found, nil
	}
	err = f.key.judgeChain(ctx, f.bucket, v, objects, kept.Pending, func(fault chainFault, what string) {
		if fault == chainForged {
			add(ballast.FindingRecordForged, what, "find out who writes to the bucket; put the object back from a copy of the bucket")
			return
		}
		add(ballast.FindingRecordDiffers, what, doRebuild)
	})
	if errors.Is(err, objstore.ErrNotFound) { // listed, and gone since
		add(ballast.FindingRecordMissing, fmt.Sprintf("a record of %s was removed meanwhile", k), doRecords)
		err = nil
	}
	if errors.Is(err, errOversize) {
		add(ballast.FindingRecordForged, fmt.Sprintf("a record of %s is larger than any that the registry writes", k), "find out who writes to the bucket")
		err = nil
	}
	if err != nil && len(objects) > 0 {
		if _, headErr := f.bucket.Head(ctx, objects[0]); headErr == nil { // the store answers otherwise
			add(ballast.FindingBrokenBytes, fmt.Sprintf("a record of %s is there, and its bytes do not come: %s", k, AsError(storeError(err)).Detail), doRecords)
			err = nil
		}
	}
	return found, err
}

// maxChain is more records than a version can have that is not damaged: each restore adds two.
const maxChain = 10000

const doRecords = "put the object back from a copy of the bucket, or an older version of it where the bucket keeps those"
