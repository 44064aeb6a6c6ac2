package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/s3dev"
)

// allowed is a place that a scope may import from. Its text form is SCOPE=s3://BUCKET/FOLDER/.
type allowed struct {
	scope ballast.Scope
	place engine.Place
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *allowed) UnmarshalText(text []byte) (err error) {
	scope, place, _ := strings.Cut(string(text), "=")
	if o.scope, err = ballast.ParseScope(scope); err != nil {
		return fmt.Errorf("write SCOPE=s3://BUCKET/FOLDER/: %w", err)
	}
	source, err := ballast.ParseSource(place)
	if err != nil || source.Bucket() == "" {
		return fmt.Errorf("%q: write SCOPE=s3://BUCKET/FOLDER/, as in acme=s3://legacy/acme/", text)
	}
	o.place = homeOf(source.Bucket(), source.Key())
	return nil
}

// String returns the text form.
func (o allowed) String() string {
	return fmt.Sprintf("%s=s3://%s/%s", o.scope, o.place.Bucket, o.place.Prefix)
}

// homeOf is a place by its bucket and a prefix with or without a slash at its end.
func homeOf(bucket, prefix string) engine.Place {
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return engine.Place{Bucket: bucket, Prefix: prefix}
}

// checkOrigins refuses places to import from in which other tenants' files could be reached.
func (c *serveCmd) checkOrigins() error {
	home := homeOf(c.S3.Bucket, strings.Trim(c.S3.Prefix, "/"))
	if c.S3.embedded() {
		home = homeOf(s3dev.Bucket, "")
	}
	for _, o := range c.ImportAllow {
		if err := (engine.Origin{Scope: o.scope, Place: o.place}).Check(home); err != nil {
			return fmt.Errorf("--import-allow %s: %w", o, err)
		}
	}
	return nil
}

// openOrigins opens the places, which lie in the same store.
func (c *serveCmd) openOrigins(store *objstore.S3, timed func(objstore.Bucket) objstore.Bucket) (all []engine.Origin, err error) {
	for _, o := range c.ImportAllow {
		b, err := store.Neighbour(o.place.Bucket)
		if err != nil {
			return nil, err
		}
		all = append(all, engine.Origin{Scope: o.scope, Place: o.place, Store: timed(b)})
	}
	return all, nil
}

// lookAtOrigins says of which places nothing can be imported as they are: of a bucket that is not there, or that the
// service's credentials may not list. That may change while the service runs, so it is no reason not to start.
func (s *serving) lookAtOrigins(ctx context.Context, origins []engine.Origin) {
	for _, o := range origins {
		for _, err := range o.Store.List(ctx, o.Prefix, "") {
			if err != nil {
				s.log.WarnContext(ctx, "nothing can be imported from a place of --import-allow: it cannot be listed", "scope", o.Scope.String(), "bucket", o.Bucket, "prefix", o.Prefix, slog.Any(attrError, err))
			}
			break
		}
	}
}
