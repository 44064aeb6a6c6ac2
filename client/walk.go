package client

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ballast-registry/ballast"
)

// source is one local file to publish.
type source struct {
	path string // in the version
	file string // on this machine
	stamp
}

// stamp tells whether a file was changed, as far as its size and time do.
type stamp struct {
	size  int64
	mtime time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

// folder is what a walk found.
type folder struct {
	sources []source // sorted by path
	skipped []string // paths of what no version holds
}

// scan lists the files under root, or root itself when it is a file. Links are followed wherever they point; links to
// folders too, but not into a folder that they lie in.
func scan(root string, match filter) (folder, error) {
	info, err := os.Stat(root)
	if err != nil {
		return folder{}, ballast.Errorf(ballast.CodeInvalid, "%q %s", root, wrongWith(root, err)).Because(err)
	}
	w := &walk{match: match}
	if info.IsDir() {
		err = w.dir(root, "", []fs.FileInfo{info})
	} else {
		err = w.entry(root, filepath.Base(root), nil)
	}
	if err != nil {
		return folder{}, err
	}
	if len(w.found.sources) == 0 {
		if match.chooses() {
			if all, err := scan(root, filter{}); err == nil {
				return folder{}, ballast.Errorf(ballast.CodeInvalid, "what is to be included and excluded leaves nothing of the %d files in %q; look at --include and --exclude", len(all.sources), root)
			}
		}
		return folder{}, ballast.Errorf(ballast.CodeInvalid, "%q holds no file to push", root)
	}
	slices.SortFunc(w.found.sources, func(a, b source) int { return strings.Compare(a.path, b.path) })
	return w.found, nil
}

type walk struct {
	match filter
	found folder
}

// dir walks one folder; above holds it and the folders around it.
func (w *walk) dir(file, rel string, above []fs.FileInfo) error {
	entries, err := os.ReadDir(file)
	if err != nil {
		return unusable(file, err)
	}
	for _, e := range entries {
		if err := w.entry(filepath.Join(file, e.Name()), path.Join(rel, e.Name()), above); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(file, rel string, above []fs.FileInfo) error {
	if ballast.IsNotOfAModel(path.Base(rel)) {
		w.found.skipped = append(w.found.skipped, rel)
		return nil
	}
	if w.match.excludes(rel) {
		return nil
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return unusable(file, err)
	case info.IsDir():
		if slices.ContainsFunc(above, func(up fs.FileInfo) bool { return os.SameFile(up, info) }) {
			return ballast.Errorf(ballast.CodeInvalid, "%q is a link to a folder that it lies in; remove it, or leave it out with --exclude", file)
		}
		return w.dir(file, rel, append(above[:len(above):len(above)], info))
	case !info.Mode().IsRegular():
		return ballast.Errorf(ballast.CodeInvalid, "%q is %s, not a file; remove it, or leave it out with --exclude", file, kindOf(info.Mode()))
	case !w.match.includes(rel):
		return nil
	}
	if err := ballast.CheckPath(rel); err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "%s; rename it, or leave it out with --exclude", ballast.AsError(err).Detail)
	}
	w.found.sources = append(w.found.sources, source{path: rel, file: file, stamp: stampOf(info)})
	if n := len(w.found.sources); n > ballast.MaxFiles {
		return ballast.Errorf(ballast.CodeTooLarge, "more than %d files; a version holds no more: pack small files together, or leave some out with --exclude", ballast.MaxFiles)
	}
	return nil
}

// unusable refuses a file that was found in a folder and cannot be read.
func unusable(file string, err error) error {
	return ballast.Errorf(ballast.CodeInvalid, "%q %s; mend it, or leave it out with --exclude", file, wrongWith(file, err)).Because(err)
}

// wrongWith says in words why a file cannot be read.
func wrongWith(file string, err error) string {
	switch _, lerr := os.Lstat(file); {
	case errors.Is(err, syscall.ELOOP):
		return "is a link that leads back to itself"
	case errors.Is(err, fs.ErrNotExist) && lerr == nil:
		return "is a broken link"
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	}
	return "cannot be read"
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "neither file nor folder"
}

// filter selects paths by glob patterns as path.Match has them. A pattern without "/" is compared with the last
// segment, one with "/" with the whole path; a pattern that fits a folder holds for everything under it.
type filter struct{ include, exclude []string }

func newFilter(include, exclude []string) (filter, error) {
	for _, p := range slices.Concat(include, exclude) {
		bare := strings.TrimSuffix(p, "/") // as it is matched
		if _, err := path.Match(bare, ""); err != nil || bare == "" {
			return filter{}, ballast.Errorf(ballast.CodeInvalid, "pattern %q: write one like *.safetensors, onnx or onnx/*.json", p)
		}
	}
	return filter{include, exclude}, nil
}

// chooses reports whether the filter can leave anything out.
func (f filter) chooses() bool { return len(f.include)+len(f.exclude) > 0 }

func (f filter) excludes(rel string) bool { return matchesAny(f.exclude, rel) }

func (f filter) includes(rel string) bool { return len(f.include) == 0 || matchesAny(f.include, rel) }

func matchesAny(patterns []string, rel string) bool {
	for ; rel != "."; rel = path.Dir(rel) {
		for _, p := range patterns {
			subject := rel
			if !strings.Contains(p, "/") {
				subject = path.Base(rel)
			}
			if ok, _ := path.Match(strings.TrimSuffix(p, "/"), subject); ok {
				return true
			}
		}
	}
	return false
}
