package enginetest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// AtRest holds the data folder of a service that has ended, and the bucket that it used, to every invariant. It returns
// what is violated, or why that cannot be told.
func AtRest(ctx context.Context, data string, b objstore.Bucket) (err error) {
	key, err := engine.LoadRecordKey(filepath.Join(data, "record.key"), false)
	if err != nil {
		return err
	}
	bolt, err := index.OpenBolt(filepath.Join(data, "index.db"), index.BoltOptions{})
	if err != nil {
		return err
	}
	x, err := index.Open(ctx, bolt, time.Now)
	if err != nil {
		return errors.Join(err, bolt.Close())
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	found, err := engine.Check(ctx, x, b, key)
	for _, v := range found {
		err = errors.Join(err, fmt.Errorf("violated: %s", v))
	}
	return err
}
