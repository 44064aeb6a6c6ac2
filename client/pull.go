package client

import (
	"cmp"
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
)

// PullOptions say what to fetch and whereto. Ref and Dir are required.
type PullOptions struct {
	Ref ballast.Ref
	Dir string // made when it is not there
	// Include and Exclude select files as in PushOptions.
	Include, Exclude []string
	// Exact removes what is in Dir and not in the version. Files of the version that are not selected stay.
	Exact bool
	// Cache is a folder of files by their digest, which pulls share; empty: none. What it holds is not fetched, and what is
	// fetched is put there: as copies that share their blocks where the file system has such, else as read-only hard links,
	// else as copies. What comes from it is hashed like everything else; an entry that is damaged is removed and fetched.
	Cache string
	// Sync has Pull return once everything is on the disk, so that no loss of power leaves a file with holes.
	Sync     bool
	Parallel int // transfers at once; 0: DefaultParallel
	Progress Progress
}

// PullResult tells what a pull did.
type PullResult struct {
	Version ballast.VersionInfo `json:"version"`
	Dir     string              `json:"dir"`
	Files   int                 `json:"files"`   // of the version, as far as they were selected
	Size    int64               `json:"size"`    // bytes of these
	Fetched int                 `json:"fetched"` // of these, not there before
	Bytes   int64               `json:"bytes"`   // that travelled from the object store
	Resumed int64               `json:"resumed"` // bytes that an earlier pull had left unfinished and that were not fetched again
	Cached  int                 `json:"cached"`  // of the fetched, from the cache
	// Replaced are the paths of fetched files in whose place something else was.
	Replaced []string `json:"replaced"`
	// Damaged names the ranges that arrived with other bytes than they have to, and were fetched again.
	Damaged []string `json:"damaged"`
	Others  int      `json:"others"`  // files in Dir that are not the version's and were left alone
	Removed []string `json:"removed"` // paths of such files that Exact removed
}

// Pull fetches a version into a folder: ranges of files in parallel, each file under a temporary name until all of it is
// proved. What is proved is the SHA-256 that the version's digest names, over every byte that is under a file's name in the
// end, in this call: of what arrives, of what lay there already and then is not fetched, of what an earlier pull left
// unfinished, and of what comes from the cache. Where the registry gives the chain of a file its links are proved apart, as
// they arrive, and one with wrong bytes is fetched again by itself; a file without one is proved as a whole.
//
// A pull that was cut short, by an error or by kill -9, goes on where it was when it is repeated, on any later day.
// Nothing outside Dir and Cache is written, whatever links lie in Dir. Several pulls into one folder do each other no harm.
//
// Errors: not_found, retired; integrity when the registry's list does not add up to the version's digest, or bytes do
// not to theirs; invalid when Dir holds something that stands in the way, naming it; one without a code when its disk is full.
func (c *Client) Pull(ctx context.Context, o PullOptions) (PullResult, error) {
	p, err := c.newPull(ctx, o)
	if err != nil {
		return PullResult{}, err
	}
	if err := os.MkdirAll(o.Dir, 0o777); err != nil {
		return PullResult{}, badFolder(o.Dir, err)
	}
	if p.root, err = os.OpenRoot(o.Dir); err != nil {
		return PullResult{}, badFolder(o.Dir, err)
	}
	defer p.root.Close()
	if o.Cache != "" {
		if p.cache, err = openCache(o.Cache); err != nil {
			return PullResult{}, badFolder(o.Cache, err)
		}
		defer p.cache.Close()
	}
	err = p.run(ctx)
	return p.result(), err
}

func badFolder(dir string, err error) error {
	return ballast.Errorf(ballast.CodeInvalid, "folder %q: %w; name another one", dir, err)
}

// pull is one run of Pull, or of Verify.
type pull struct {
	c       *Client
	o       PullOptions
	version ballast.VersionInfo
	ref     ballast.Ref
	all     []ballast.File          // sorted by path
	wanted  map[string]ballast.File // by path
	root    *os.Root
	cache   *cache // nil: none
	looks   bool   // and changes nothing

	inPlace map[string]bool // paths at which something else is; complete before the first fetch
	fetched atomic.Int64
	bytes   atomic.Int64
	resumed atomic.Int64
	cached  atomic.Int64
	others  int
	removed []string

	mu       sync.Mutex // guards what follows
	replaced []string
	damaged  []string
	parts    map[string][]string // names of parts that earlier pulls left, by folder and digest
}

// newPull finds out what the version has and what of it is wanted.
func (c *Client) newPull(ctx context.Context, o PullOptions) (*pull, error) {
	match, err := newFilter(o.Include, o.Exclude)
	if err != nil {
		return nil, err
	}
	v, err := c.Version(ctx, o.Ref)
	if err != nil {
		return nil, err
	}
	files, _, err := c.checkedFiles(ctx, v, false)
	if err != nil {
		return nil, err
	}
	wanted := selected(files, match)
	if len(wanted) == 0 {
		return nil, nothingLeft(v, len(files))
	}
	return &pull{c: c, o: o, version: v, ref: exactly(v), all: files, wanted: wanted, inPlace: make(map[string]bool), parts: make(map[string][]string)}, nil
}

func (p *pull) result() PullResult {
	for _, paths := range [][]string{p.replaced, p.removed, p.damaged} {
		slices.Sort(paths)
	}
	return PullResult{
		Version: p.version, Dir: p.o.Dir, Files: len(p.wanted), Size: sizeOf(p.wanted), Fetched: int(p.fetched.Load()), Bytes: p.bytes.Load(),
		Resumed: p.resumed.Load(), Cached: int(p.cached.Load()),
		Replaced: notNil(p.replaced), Damaged: notNil(p.damaged), Others: p.others, Removed: notNil(p.removed),
	}
}

// notNil makes JSON write an array.
func notNil(paths []string) []string { return append([]string{}, paths...) }

// checkedFiles lists a version's files and holds them to its digest, so that no file that the version does not have,
// and no path that leads out of a folder, is ever acted on. With urls, each info has a signed request, which is not
// checked: what it fetches is to be held to the file's digest.
func (c *Client) checkedFiles(ctx context.Context, v ballast.VersionInfo, urls bool) ([]ballast.File, []ballast.FileInfo, error) {
	if v.Files == 0 {
		return nil, nil, ballast.Errorf(ballast.CodePrecondition, "%s has no files: it was published for what is said of it, and there is nothing to pull; `ballast show` prints it", v.Key)
	}
	var files []ballast.File
	var infos []ballast.FileInfo
	for info, err := range c.Files(ctx, exactly(v), ListFiles{URLs: urls, Limit: 1000}) {
		if err != nil {
			return nil, nil, err
		}
		d, err := ballast.ParseSHA256(info.SHA256)
		if err != nil {
			return nil, nil, err
		}
		files, infos = append(files, ballast.File{Path: info.Path, Size: info.Size, Digest: d}), append(infos, info)
		if len(files) > ballast.MaxFiles {
			break
		}
	}
	_, manifest, err := ballast.BuildManifest(files)
	if err == nil && ballast.DigestOf(manifest) == v.Digest {
		return files, infos, nil
	}
	e := ballast.Errorf(ballast.CodeIntegrity, "%s: the list of its files is not what its digest says; nothing was written: tell the registry's operator", v.Key)
	if e.Expected = v.Digest; err == nil {
		e.Actual = ballast.DigestOf(manifest)
	}
	return nil, nil, e.Because(err)
}

func nothingLeft(v ballast.VersionInfo, files int) error {
	return ballast.Errorf(ballast.CodeInvalid, "--include and --exclude leave nothing of the %d files of %s to fetch; `ballast show` lists them", files, v.Key)
}

func selected(files []ballast.File, match filter) map[string]ballast.File {
	out := make(map[string]ballast.File, len(files))
	for _, f := range files {
		if match.includes(f.Path) && !match.excludes(f.Path) {
			out[f.Path] = f
		}
	}
	return out
}

func (p *pull) run(ctx context.Context) error {
	p.sweep()
	lacking, err := p.compare(ctx)
	if err != nil {
		return err
	}
	for _, get := range []func(context.Context, map[string]ballast.File) error{p.makeEmpty, p.fromCache, p.fetch} {
		if err := get(ctx, lacking); err != nil {
			return err
		}
	}
	if err := p.tidy(); err != nil || !p.o.Sync {
		return err
	}
	return p.sync()
}

// workers is how many work at once.
func (p *pull) workers() int { return cmp.Or(max(p.o.Parallel, 0), DefaultParallel) }

// each runs work on files in parallel.
func (p *pull) each(ctx context.Context, files map[string]ballast.File, work func(context.Context, ballast.File) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.workers())
	for _, f := range files {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return work(ctx, f)
		})
	}
	return g.Wait()
}

func (p *pull) plan(phase Phase, files map[string]ballast.File) {
	if len(files) > 0 {
		p.o.Progress.tell(Event{Phase: phase, Files: len(files), Total: sizeOf(files)})
	}
}

func sizeOf(files map[string]ballast.File) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

// sync waits until the disk has what was written, also of files that were right before: another pull may have written them
// a moment ago.
func (p *pull) sync() error {
	err := syncFolder(p.root, pathsOf(p.wanted))
	if err == nil && p.cache != nil {
		err = p.cache.sync()
	}
	if err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "folder %q: the files are there and right, but may not outlast a loss of power: %w", p.o.Dir, err)
	}
	return nil
}

func pathsOf(files map[string]ballast.File) []string {
	paths := make([]string, 0, len(files))
	for at := range files {
		paths = append(paths, at)
	}
	return paths
}
