package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// What one version puts into a transaction at most, beside its value: the keys by which it is found, its child edge and
// its name.
const (
	restoreKeys  = 7
	restoreBytes = 4 << 10
)

// Restore puts versions into an index that does not have them, with everything that finds them, so that a benchmark need
// not publish each. It writes as many in a transaction as surely fit. Blobs, uploads, aliases and events it leaves out.
func (x *Index) Restore(ctx context.Context, versions []Version) error {
	for len(versions) > 0 {
		n, bytes := 0, 0
		for n < len(versions) && n < MaxTouchedKeys/restoreKeys {
			b, err := json.Marshal(versions[n])
			if err != nil {
				return fmt.Errorf("index: encoding %s: %w", versions[n].Key(), err)
			}
			if bytes += len(b) + restoreBytes; n > 0 && bytes > MaxTouchedBytes {
				break
			}
			n++
		}
		err := x.store.Update(ctx, func(tx Tx) error {
			for _, v := range versions[:n] {
				if err := restore(tx, v); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		versions = versions[n:]
	}
	return nil
}

// KindsOfVersions are the kinds of keys that Restore writes.
var KindsOfVersions = []byte{kindName, kindVersion, kindCandidate, kindByDigest, kindByManifest, kindByTime, kindChild}

func restore(tx Tx, v Version) error {
	k := scopedName(kindName, v.Scope, v.Name)
	name, _, err := lookup[Name](tx, k)
	if err != nil {
		return err
	}
	if name.Name.IsZero() {
		name.Name = v.Name
	}
	name.MaxMajor = max(name.MaxMajor, v.Version.Major())
	name.HadReady = true // a version has a record only once it is ready
	if v.UpdatedAt.After(name.Updated.Time) {
		name.Updated = v.UpdatedAt
	}
	found := [][]byte{byDigestKey(v.Scope, v.Name, v.Digest, v.Version)}
	if v.Status != ballast.StatusDeleted {
		found = append(found, byTimeKey(v), byManifestKey(v.Scope, v.Digest, v.Name, v.Version))
		err = putChild(tx, v)
	}
	if v.Status == ballast.StatusReady {
		name.Ready++
		if v.Stage.Active() {
			found = append(found, candidateKey(v.Scope, v.Name, v.Version))
		}
	}
	return errors.Join(err, put(tx, k, name), putVersion(tx, v), putAll(tx, found...))
}
