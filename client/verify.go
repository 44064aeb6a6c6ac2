package client

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/ballast-registry/ballast"
)

// VerifyOptions say what to compare with what. Ref and Dir are required.
type VerifyOptions struct {
	Ref ballast.Ref
	Dir string
	// Include and Exclude select files as in PushOptions.
	Include, Exclude []string
	Parallel         int // files at once; 0: DefaultParallel
	Progress         Progress
}

// VerifyResult tells how a folder differs from a version. All paths are sorted.
type VerifyResult struct {
	Version ballast.VersionInfo `json:"version"`
	Dir     string              `json:"dir"`
	Files   int                 `json:"files"`   // of the version, as far as they were selected
	Size    int64               `json:"size"`    // bytes of these
	Missing []string            `json:"missing"` // not in the folder
	Differ  []string            `json:"differ"`  // there with other content, or not as a file
	Others  int                 `json:"others"`  // files in Dir that are not the version's
}

// Verify compares a folder with a version: it hashes every file, fetches nothing and changes nothing.
//
// Errors: integrity, with a complete result, when a file is missing or differs; those of Pull.
func (c *Client) Verify(ctx context.Context, o VerifyOptions) (VerifyResult, error) {
	p, err := c.newPull(ctx, PullOptions{Ref: o.Ref, Dir: o.Dir, Include: o.Include, Exclude: o.Exclude, Parallel: o.Parallel, Progress: o.Progress})
	if err != nil {
		return VerifyResult{}, err
	}
	p.looks = true
	r := VerifyResult{Version: p.version, Dir: o.Dir, Files: len(p.wanted), Size: sizeOf(p.wanted), Missing: []string{}, Differ: []string{}}
	p.root, err = os.OpenRoot(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		r.Missing = slices.Sorted(maps.Keys(p.wanted))
		return r, r.verdict()
	}
	if err != nil {
		return r, badFolder(o.Dir, err)
	}
	defer p.root.Close()
	lacking, err := p.compare(ctx)
	if err != nil {
		return r, err
	}
	others, _, err := p.strangers()
	if err != nil {
		return r, p.inTheWay(err)
	}
	r.Others = len(others)
	for _, at := range slices.Sorted(maps.Keys(lacking)) {
		if p.inPlace[at] {
			r.Differ = append(r.Differ, at)
		} else {
			r.Missing = append(r.Missing, at)
		}
	}
	return r, r.verdict()
}

func (r VerifyResult) verdict() error {
	if len(r.Missing)+len(r.Differ) == 0 {
		return nil
	}
	return ballast.Errorf(ballast.CodeIntegrity, "folder %q is not %s: missing %d, different %d, of %d files; `ballast pull` fetches them",
		r.Dir, r.Version.Key, len(r.Missing), len(r.Differ), r.Files)
}
