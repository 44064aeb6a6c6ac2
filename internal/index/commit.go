package index

import (
	"bytes"
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// FindCommit completes the first hex digits of a digest, of which there are so many that two digests of one name with
// the same ones are no accident. The first scope where the name ever had such a digest decides, as it does for the
// digest itself; whether there is a version to serve is for Resolve to say.
//
// Errors: not_found; conflict when different files begin with these digits.
func (x *Index) FindCommit(ctx context.Context, scopes []ballast.Scope, name ballast.Name, digits string) (ref ballast.Ref, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		for _, scope := range scopes {
			d, ok, err := beginsWith(tx, scope, name, digits)
			if err != nil {
				return err
			}
			if ok {
				ref = ballast.Ref{Scope: scope, Name: name, Digest: d}
				return nil
			}
		}
		return ballast.Errorf(ballast.CodeNotFound, "%s@%s: not found", name, digits)
	})
	return ref, err
}

// beginsWith finds the one digest that begins with digits: in their order, the first such and the last are the same.
func beginsWith(tx Tx, scope ballast.Scope, name ballast.Name, digits string) (_ digest.Digest, ok bool, err error) {
	prefix := append(scopedName(kindByDigest, scope, name), digits...)
	var ends [2]string
	for i, reverse := range []bool{false, true} {
		item, ok, err := first(tx.Scan(prefix, nil, reverse))
		if err != nil || !ok {
			return "", false, err
		}
		rest, _, _ := bytes.Cut(item.Key[len(prefix):], []byte{0x00})
		ends[i] = string(rest)
	}
	if ends[0] != ends[1] {
		return "", false, ballast.Errorf(ballast.CodeConflict, "%s@%s: versions with different files begin with these digits; name the version", name, digits)
	}
	return digest.NewDigestFromEncoded(digest.SHA256, digits+ends[0]), true, nil
}
