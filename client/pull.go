package client

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
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
	Exact            bool // remove what is in Dir and not in the version
	Parallel         int  // files at once; 0: DefaultParallel
	Progress         Progress
}

// PullResult tells what a pull did.
type PullResult struct {
	Version ballast.VersionInfo `json:"version"`
	Dir     string              `json:"dir"`
	Files   int                 `json:"files"`   // of the version, as far as they were selected
	Size    int64               `json:"size"`    // bytes of these
	Fetched int                 `json:"fetched"` // of these, not there before
	Bytes   int64               `json:"bytes"`   // that travelled from the object store
	// Replaced are the paths of fetched files in whose place something else was.
	Replaced []string `json:"replaced"`
	Others   int      `json:"others"`  // files in Dir that are not the version's and were left alone
	Removed  []string `json:"removed"` // paths of such files that Exact removed
}

// Pull fetches a version into a folder. Every file is written under a temporary name, checked against its SHA-256 on
// the way and then renamed, so that a file under its own name is always whole; one that is there already and right is
// not fetched. Files are not synced to disk: after a power cut, pull again. Nothing outside Dir is written, whatever
// links lie in it. Several pulls into one folder do each other no harm; what a killed one left unfinished is removed.
//
// Errors: not_found, retired; integrity when the registry's list does not add up to the version's digest, or bytes do
// not to theirs; invalid when Dir holds something that stands in the way, naming it.
func (c *Client) Pull(ctx context.Context, o PullOptions) (PullResult, error) {
	match, err := newFilter(o.Include, o.Exclude)
	if err != nil {
		return PullResult{}, err
	}
	v, err := c.Version(ctx, o.Ref)
	if err != nil {
		return PullResult{}, err
	}
	files, _, err := c.checkedFiles(ctx, v, false)
	if err != nil {
		return PullResult{}, err
	}
	wanted := selected(files, match)
	if len(wanted) == 0 {
		return PullResult{}, nothingLeft(v, len(files))
	}
	if err := os.MkdirAll(o.Dir, 0o777); err != nil {
		return PullResult{}, ballast.Errorf(ballast.CodeInvalid, "folder %q: %w; name another one", o.Dir, err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return PullResult{}, ballast.Errorf(ballast.CodeInvalid, "folder %q: %w; name another one", o.Dir, err)
	}
	defer root.Close()
	p := &pull{c: c, o: o, root: root, ref: exactly(v), all: files, wanted: wanted, inPlace: make(map[string]bool)}
	err = p.run(ctx)
	slices.Sort(p.replaced)
	slices.Sort(p.removed)
	return PullResult{
		Version: v, Dir: o.Dir, Files: len(wanted), Size: sizeOf(wanted), Fetched: int(p.fetched.Load()), Bytes: p.bytes.Load(),
		Replaced: notNil(p.replaced), Others: p.others, Removed: notNil(p.removed),
	}, err
}

// notNil makes JSON write an array.
func notNil(paths []string) []string { return append([]string{}, paths...) }

// filePage is how many files one page of signed requests has: few, because signed requests age.
const filePage = 200

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

// pull is one run of Pull.
type pull struct {
	c      *Client
	o      PullOptions
	root   *os.Root
	ref    ballast.Ref
	all    []ballast.File
	wanted map[string]ballast.File

	inPlace map[string]bool // paths at which something else is; complete before the first fetch
	fetched atomic.Int64
	bytes   atomic.Int64
	others  int
	removed []string

	mu       sync.Mutex // guards replaced
	replaced []string
}

func (p *pull) run(ctx context.Context) error {
	p.sweep()
	lacking, err := p.compare(ctx)
	if err != nil {
		return err
	}
	if err := p.fetch(ctx, lacking); err != nil {
		return err
	}
	return p.tidy()
}

// group runs work on files in parallel.
func (p *pull) group(ctx context.Context) (*errgroup.Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(DefaultParallel)
	if p.o.Parallel > 0 {
		g.SetLimit(p.o.Parallel)
	}
	return g, ctx
}

// fetch fetches the lacking files, page by page of signed requests.
func (p *pull) fetch(ctx context.Context, lacking map[string]ballast.File) error {
	p.plan(PhaseDownload, lacking)
	g, gctx := p.group(ctx)
	for _, f := range lacking {
		if f.Size == 0 {
			g.Go(func() error { return p.fetchFile(gctx, f, ballast.SignedRequest{}) })
		}
	}
	pages := p.fetchPages(gctx, g, lacking)
	return cmp.Or(g.Wait(), pages) // a file's failure ends the pages too, and says more
}

func (p *pull) fetchPages(ctx context.Context, g *errgroup.Group, lacking map[string]ballast.File) error {
	left := 0
	for _, f := range lacking {
		if f.Size > 0 {
			left++
		}
	}
	cursor := ""
	for left > 0 {
		page, err := p.c.FilesPage(ctx, p.ref, ListFiles{URLs: true, Limit: filePage, Cursor: cursor})
		if err != nil {
			return err
		}
		for _, info := range page.Files {
			f, ok := lacking[info.Path]
			if !ok || f.Size == 0 {
				continue
			}
			left--
			var sr ballast.SignedRequest // zero: fetchFile asks for one
			if info.Request != nil {
				sr = *info.Request
			}
			g.Go(func() error { return p.fetchFile(ctx, f, sr) })
		}
		if page.Cursor == "" || page.Cursor == cursor {
			break
		}
		cursor = page.Cursor
	}
	if left > 0 && ctx.Err() == nil {
		return ballast.Errorf(ballast.CodeInternal, "the registry lists %s differently each time; report this defect", p.ref)
	}
	return nil
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

// sweep removes what killed pulls left unfinished in the version's folders, so that its room is there again.
func (p *pull) sweep() {
	ours := p.paths()
	folders := map[string]bool{".": true}
	for _, f := range p.all {
		folders[path.Dir(f.Path)] = true
	}
	for folder := range folders {
		entries, _ := fs.ReadDir(p.root.FS(), folder) // what cannot be read is told of when it is written to
		for _, e := range entries {
			if at := path.Join(folder, e.Name()); isPartial(at) && !ours[at] {
				removeAbandoned(p.root, at)
			}
		}
	}
}

// paths are those of the version's files, selected or not, and of the folders that they lie in.
func (p *pull) paths() map[string]bool {
	out := make(map[string]bool, len(p.all))
	for _, f := range p.all {
		for at := f.Path; at != "."; at = path.Dir(at) {
			out[at] = true
		}
	}
	return out
}

// tidy counts, and with Exact removes, what is in the folder and not in the version, and removes unfinished files that
// killed pulls left anywhere in it.
func (p *pull) tidy() error {
	ours := p.paths()
	others := map[string]fs.DirEntry{}
	err := fs.WalkDir(p.root.FS(), ".", func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && p.o.Exact || at == ".":
			return err
		case err != nil: // somebody else's folder, or gone meanwhile
		case ours[at]: // whatever its name looks like
		case isPartial(at) && d.Type().IsRegular():
			removeAbandoned(p.root, at)
		case d.IsDir() && !p.o.Exact: // its files are counted
		case d.IsDir():
			others[at] = d
			return fs.SkipDir
		default:
			others[at] = d
		}
		return nil
	})
	if err != nil || !p.o.Exact {
		p.others = len(others)
		return p.inTheWay(err)
	}
	return p.remove(others)
}

// remove removes entries of the folder, and lists the files among and in them.
func (p *pull) remove(entries map[string]fs.DirEntry) error {
	for at, d := range entries {
		files := []string{at}
		if d.IsDir() {
			files = filesIn(p.root.FS(), at)
		}
		if err := p.root.RemoveAll(at); err != nil {
			return p.inTheWay(err)
		}
		p.removed = append(p.removed, files...)
	}
	return nil
}

func filesIn(fsys fs.FS, dir string) (paths []string) {
	_ = fs.WalkDir(fsys, dir, func(at string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, at)
		}
		return nil
	})
	return paths
}

// inTheWay explains an error of the local folder.
func (p *pull) inTheWay(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pe):
		return p.blocked(pe.Path, pe.Err)
	case errors.As(err, &le):
		return p.blocked(le.New, le.Err)
	}
	return err
}

func (p *pull) blocked(path string, cause error) error {
	return ballast.Errorf(ballast.CodeInvalid, "%q in folder %q: %w; move it away, or pull into another folder", path, p.o.Dir, cause)
}
