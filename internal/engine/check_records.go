package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
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
	err := c.key.judgeChain(ctx, c.bucket, v, objects, c.Records[index.VersionID(v.Scope, v.Name, v.Version)], func(fault chainFault, what string) {
		invariant := InvariantRebuild
		if fault == chainReplaced {
			invariant = InvariantOneContent
		}
		c.report(invariant, "%s", what)
	})
	if err != nil {
		c.fault(err)
	}
}

// chainFault is what is wrong with the records of a version.
type chainFault int

const (
	chainForged   chainFault = iota // one cannot be read, or is not signed with the registry's key
	chainIllegal                    // they do not make the version that the index has
	chainReplaced                   // the last is not the one that is to be written
)

// judgeChain holds the records of a version in the bucket, whose keys are objects in their order, and the pending one behind
// them, nil when there is none, against what the index has of it.
func (k RecordKey) judgeChain(ctx context.Context, b objstore.Bucket, v index.Version, objects []string, pending []byte, report func(chainFault, string)) error {
	o, last := openedChain{}, RecordKind("")
	add := func(n int, body []byte) bool {
		if err := o.add(k, recordPath(v.Key(), n), v.Key(), n, body, o.mac()); err != nil {
			report(chainForged, fmt.Sprintf("%s: %s", v.Key(), chainWords(err)))
			return false
		}
		if last = o.state.kind; !rebuilds(o.head().Record, v) {
			report(chainIllegal, fmt.Sprintf("%s: its record %d would rebuild another version", v.Key(), n))
		}
		return true
	}
	for i, object := range objects {
		body, _, err := readAll(ctx, b, object, maxRecordBytes)
		if err != nil {
			return err
		}
		if n := i + 1; n == v.Records+1 && pending != nil && string(pending) != string(body) {
			report(chainReplaced, fmt.Sprintf("%s: its record in the bucket is not the one that is to be written", v.Key()))
			return nil
		}
		if !add(i+1, body) {
			return nil
		}
	}
	if pending != nil && len(objects) == v.Records && !add(v.Records+1, pending) {
		return nil
	}
	says := statuses(last)
	if pending != nil && len(o.records) > v.Records && o.head().Kind == RecordRestored { // it is back once the index knows that the record is written
		says = statuses(RecordDeleted)
	}
	if o.mac() != v.RecordMAC || !o.vouched || !slices.Contains(says, v.Status) {
		report(chainIllegal, fmt.Sprintf("%s is %s and the last of its records says %s", v.Key(), v.Status, last))
	}
	return nil
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
