package engine

import (
	"context"
	"encoding/json"
	"path"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// records rebuilds every version from its records and compares.
func (c *checker) records(ctx context.Context) {
	chains := map[string][]string{} // keys of objects by version
	keys := map[string]ballast.Key{}
	for scope, err := range scopesIn(ctx, c.bucket) {
		if err != nil {
			c.fault(err)
			return
		}
		for obj, err := range c.bucket.List(ctx, scope.Path()+"/models/", "") {
			if err != nil {
				c.fault(err)
				return
			}
			k, _, ok := parseRecordPath(scope, obj.Key)
			if !ok {
				c.report(InvariantRebuild, "%s is no record", path.Base(obj.Key))
				continue
			}
			id := index.VersionID(k.Scope, k.Name, k.Version)
			chains[id], keys[id] = append(chains[id], obj.Key), k
		}
	}
	for id, objects := range chains {
		if v, known := c.Versions[id]; known && v.Refused != "" {
			continue
		} else if known {
			c.chain(ctx, v, objects)
		} else {
			c.report(InvariantOwner, "the bucket has a record of %s, which the index does not know", keys[id])
		}
	}
	for id, v := range c.Versions {
		if len(chains[id]) < v.Records && v.Refused == "" {
			c.report(InvariantRebuild, "%s is %s and the bucket has %d of its %d records", v.Key(), v.Status, len(chains[id]), v.Records)
		}
	}
}

// chain checks the records of one version in the bucket, and the pending one behind them.
func (c *checker) chain(ctx context.Context, v index.Version, objects []string) {
	k := v.Key()
	pending, waits := c.Records[index.VersionID(v.Scope, v.Name, v.Version)]
	o, last := openedChain{}, RecordKind("")
	add := func(n int, body []byte) bool {
		if err := o.add(c.key, recordPath(k, n), k, n, body, o.mac()); err != nil {
			c.report(InvariantRebuild, "%s: %s", k, chainWords(err))
			return false
		}
		if last = o.state.kind; !rebuilds(o.head().Record, v) {
			c.report(InvariantRebuild, "%s: its record %d would rebuild another version", k, n)
		}
		return true
	}
	for i, object := range objects {
		body, _, err := readAll(ctx, c.bucket, object, maxRecordBytes)
		if err != nil {
			c.fault(err)
			return
		}
		if n := i + 1; n == v.Records+1 && waits && string(pending) != string(body) {
			c.report(InvariantOneContent, "%s: its record in the bucket is not the one that is to be written", k)
			return
		}
		if !add(i+1, body) {
			return
		}
	}
	if waits && len(objects) == v.Records && !add(v.Records+1, pending) {
		return
	}
	says := statuses(last)
	if waits && len(objects) == v.Records && o.head().Kind == RecordRestored { // it is back once the record is written
		says = statuses(RecordDeleted)
	}
	if o.mac() != v.RecordMAC || !o.vouched || !slices.Contains(says, v.Status) {
		c.report(InvariantRebuild, "%s is %s and the last of its records says %s", k, v.Status, last)
	}
}

// statuses are those of a version whose chain stands at a kind of record.
func statuses(kind RecordKind) []ballast.Status {
	switch kind {
	case RecordReady:
		return []ballast.Status{ballast.StatusSealed, ballast.StatusReady, ballast.StatusLost}
	case RecordRetired:
		return []ballast.Status{ballast.StatusRetired}
	case RecordDeleted:
		return []ballast.Status{ballast.StatusDeleted}
	}
	return nil
}

// rebuilds reports whether a record makes the version that the index has. What people say of a version may have changed
// since; its base may not.
func rebuilds(r Record, v index.Version) bool {
	same := r.Metadata.BaseModel == v.Metadata.BaseModel
	if v.Revision == 1 {
		same = sameJSON(r.Metadata, v.Metadata)
	}
	return same && r.Digest == v.Digest && r.Size == v.Size && r.Files == v.Files && r.CreatedBy == v.CreatedBy &&
		r.CreatedAt == v.CreatedAt && r.Name == v.Name && r.Version == v.Version && sameJSON(r.Weights, v.Weights)
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
