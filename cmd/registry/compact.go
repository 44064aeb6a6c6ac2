package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ballast-registry/ballast/internal/index"
)

// compactCmd makes the index file smaller.
type compactCmd struct {
	Data string `env:"BALLAST_DATA" type:"path" placeholder:"DIR" help:"Data folder of the service (default $$XDG_DATA_HOME/ballast)."`
	JSON bool   `name:"json" help:"Write one JSON document to stdout."`
}

// Help is the long form of ballast compact --help.
func (*compactCmd) Help() string {
	return `The file of the index never shrinks by itself: what was removed leaves room that later writes use. compact writes
the index into a new file beside the old one, checks it page by page, compares the two item by item, and puts it in the
place of the old one. Stop the service first: the command refuses while one holds the index. It takes as much free disk as
the index has. Cut off anywhere, the old file stays as it was; a folder .compact-… that is left can be removed.`
}

// Run implements the command.
func (c *compactCmd) Run(ctx context.Context, a *app) error {
	path, err := indexPath(a, c.Data)
	if err != nil {
		return err
	}
	sizes, err := index.Compact(ctx, path)
	switch {
	case errors.Is(err, index.ErrLocked):
		return lockedError(err, path)
	case errors.Is(err, index.ErrFull):
		return fmt.Errorf("%w; make room, or name a data folder on another disk", err)
	case err != nil:
		return err
	}
	if c.JSON {
		return a.json(map[string]int64{"before": sizes.Before, "after": sizes.After})
	}
	fmt.Fprintf(a.stdout, "%s  compacted\nbefore  %s\nafter   %s\n", path, size(sizes.Before), size(sizes.After))
	return nil
}

// indexPath is the index file of a data folder, which must be there.
func indexPath(a *app, data string) (string, error) {
	data, err := dataFolder(a.env, data)
	if err != nil {
		return "", err
	}
	path := filepath.Join(data, indexFile)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no index in the data folder %s; name the folder of the service with --data", data)
	}
	return path, nil
}

func lockedError(err error, path string) error {
	return fmt.Errorf("a service uses the index %s: stop it first (%w)", path, err)
}
