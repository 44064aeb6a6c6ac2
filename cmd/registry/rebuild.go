package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast/internal/atomicfile"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// rebuildCmd makes an index from the bucket. Help is its manual.
type rebuildCmd struct {
	offlineFlags   `embed:""`
	AcceptUnsigned bool          `help:"The record key is lost: hash every file of every version instead of believing signatures, and sign the last record of each anew."`
	KeepTokens     bool          `help:"Let the tokens of the snapshot be good again. Without it they come back expired, so that one that was revoked since is not."`
	JSON           bool          `name:"json" help:"Print the report as one JSON document."`
	Wait           time.Duration `hidden:"" default:"60s" help:"How long a former owner of the prefix gets to stop."`
}

// Help is the long form of ballast rebuild --help.
func (*rebuildCmd) Help() string {
	return `Makes the index of a registry anew, from its bucket alone, in a data folder that has none. Run it with the store
settings of the service, when no service runs. It needs the record.key of the lost data folder:

  mkdir -p DIR && cp BACKUP/record.key DIR/
  ballast rebuild --data DIR --s3-bucket NAME …
  ballast serve --data DIR --s3-bucket NAME …

With the embedded store, move index.db out of the data folder and run it there.

What was ready, retired and deleted comes from the signed records, and is as it was. A version with bytes missing is lost
until the same files are pushed again. Aliases, stages, production, changed descriptions, quotas and added tasks come from
the newest snapshot in the bucket; what was said after it is gone. Tokens come back expired; a new admin token is written
to admin.token. It can be interrupted and run again. docs/rebuild.md has it all.`
}

// Run implements the command.
func (c *rebuildCmd) Run(ctx context.Context, a *app) (err error) {
	o, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	key, err := c.recordKey(o.data, c.AcceptUnsigned)
	if err != nil {
		return fmt.Errorf("%w\nWithout the key nothing tells what the registry wrote from what somebody else did: %s", err, engine.UnknownKeyChoices)
	}
	report, err := engine.Rebuild(ctx, engine.RebuildOptions{
		Index: o.index, Bucket: o.bucket, RecordKey: key, AcceptUnsigned: c.AcceptUnsigned, KeepTokens: c.KeepTokens,
		Dir: o.data, Wait: c.Wait, Sync: o.sync, Logger: o.log,
		SaveAdmin: func(token string) error { return atomicfile.Replace(filepath.Join(o.data, tokenFile), token+"\n") },
		Progress: func(stage string, done int64) {
			fmt.Fprintf(a.stderr, "rebuild: %s: %s\n", oneLine(stage), humanize.Comma(done))
		},
	})
	if errors.Is(err, index.ErrNotBlank) {
		return fmt.Errorf("the index in %s holds a registry already: name an empty folder with --data, or move its %s away first", o.data, indexFile)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(report)
	}
	return c.print(a, o, report)
}

// maxShown bounds how many lines of one kind are printed; --json has them all.
const maxShown = 100

func (c *rebuildCmd) print(a *app, o *offline, r engine.Report) error {
	fmt.Fprintf(a.stdout, "rebuilt in %s: %d versions ready, %d retired, %d deleted, %d lost, %d refused; %d files of %s\n",
		time.Duration(r.Elapsed).Round(time.Millisecond), r.Ready, r.Retired, r.Deleted, r.Tally.Lost, r.Refused, r.Blobs, humanize.IBytes(uint64(r.Bytes)))
	lines := func(head string, all []string) {
		if len(all) == 0 {
			return
		}
		fmt.Fprintln(a.stdout, "\n"+head)
		for _, line := range all[:min(len(all), maxShown)] {
			fmt.Fprintln(a.stdout, "  "+oneLine(line))
		}
		if more := len(all) - maxShown; more > 0 {
			fmt.Fprintf(a.stdout, "  and %d more; --json has them all\n", more)
		}
	}
	var refused []string
	for _, f := range r.RefusedThings {
		refused = append(refused, f.What+": "+f.Why)
	}
	lines("lost: bytes are missing; push the same files again", r.LostVersions)
	lines("refused: not believed, and not served", refused)
	lines("taken without a signature that is known: look through these", r.Unsigned)
	if r.Snapshot == "" {
		fmt.Fprintln(a.stdout, "\nno snapshot could be used: aliases, stages, production, changed descriptions, quotas, added tasks and tokens are gone")
	} else {
		fmt.Fprintf(a.stdout, "\nfrom %s: what was said of %d versions, %d aliases, production of %d names, %d quotas, %d tasks, %d tokens\n",
			r.Snapshot, r.Filled.Versions, r.Filled.Aliases, r.Filled.Production, r.Filled.Quotas, r.Filled.Tasks, r.Filled.Tokens)
	}
	lines("left out of it", r.LeftOut)
	_, err := fmt.Fprintf(a.stdout, "\nthe admin token is in %s; start the service with the same settings: ballast serve\n", filepath.Join(o.data, tokenFile))
	return err
}
