// Package tool finds and builds the programs that the tests and the lint target run but the product never links: MinIO,
// its client, the readers s5cmd and rclone, and golangci-lint. Each is pinned by a go.mod of its own under
// testenv/tools/<name>, whose one tool directive names it.
//
// Built programs are kept outside the tree, in ${BALLAST_TOOLS} or else ballast-tools in the user's cache folder, as
// <name>-<hash of go.mod, go.sum and sources>-<os>-<arch>/<name>: changing a pin changes the path.
package tool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CacheVariable is the environment variable that moves the cache of built programs.
const CacheVariable = "BALLAST_TOOLS"

// ErrNotBuilt is what Find answers for a pinned program that is not in the cache.
var ErrNotBuilt = errors.New("not built: run `make tools`")

// Names lists the pinned programs.
func Names() ([]string, error) {
	root, err := pins()
	if err != nil {
		return nil, err
	}
	mods, err := filepath.Glob(filepath.Join(root, "*", "go.mod"))
	names := make([]string, 0, len(mods))
	for _, mod := range mods {
		names = append(names, filepath.Base(filepath.Dir(mod)))
	}
	slices.Sort(names)
	return names, err
}

// Find returns the path of a built program, or ErrNotBuilt. It builds nothing.
func Find(name string) (string, error) {
	_, path, err := locate(name)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("tool: %s is %w", name, ErrNotBuilt)
	} else if err != nil {
		return "", fmt.Errorf("tool: looking for %s: %w", name, err)
	}
	return path, nil
}

// Build returns the path of a program and builds it first when it is not there; the go command's output goes to log.
// Processes that build the same program at once build it once. A cold build of MinIO takes minutes.
func Build(ctx context.Context, name string, log io.Writer) (string, error) {
	mod, path, err := locate(name)
	if err != nil {
		return "", err
	}
	return path, keep(filepath.Dir(path), name, log, func(tmp string) error { return build(ctx, mod, tmp, name, log) })
}

// keep fills dir, unless it is there. fill works beside it, and a rename follows, so that dir is whole whenever it is there.
func keep(dir, name string, log io.Writer, fill func(tmp string) error) error {
	cache := filepath.Dir(dir)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("tool: folder for built programs: %w", err)
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return fmt.Errorf("tool: waiting for another build of %s: %w", name, err)
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	fmt.Fprintf(log, "tool: building %s into %s (minutes when caches are cold)\n", name, dir)
	tmp, err := os.MkdirTemp(cache, ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return fmt.Errorf("tool: building %s: %w", name, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // a folder of programs
		return err
	}
	return os.Rename(tmp, dir)
}

func build(ctx context.Context, mod, tmp, name string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(tmp, name), "tool")
	cmd.Dir = mod
	// The caller may be cross-compiling or run with flags of its own; the program must run here.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}

// locate returns the folder of the program's pin and the path where its build is kept.
func locate(name string) (mod, path string, err error) {
	root, err := pins()
	if err != nil {
		return "", "", err
	}
	mod = filepath.Join(root, name)
	files := []string{"go.mod", "go.sum"}
	sources, err := filepath.Glob(filepath.Join(mod, "*.go")) // of a program that is put together there
	if err != nil {
		return "", "", err
	}
	for _, path := range sources {
		files = append(files, filepath.Base(path))
	}
	dir, err := home(mod, files...)
	return mod, filepath.Join(dir, name), err
}

// home is where what the pin in a folder names is kept: its path changes with the files of the pin.
func home(pin string, files ...string) (string, error) {
	name, hash := filepath.Base(pin), sha256.New()
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(pin, file))
		if err != nil {
			return "", fmt.Errorf("tool: pin of %s: %w", name, err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", file, len(data), data)
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, strings.Join([]string{name, hex.EncodeToString(hash.Sum(nil))[:12], runtime.GOOS, runtime.GOARCH}, "-")), nil
}

func cacheFolder() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("tool: no folder for built programs (set %s): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "ballast-tools"), nil
}

// pins finds testenv/tools in the repository that holds the working directory: tests run in their package's folder.
func pins() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("tool: finding the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		root := filepath.Join(dir, "testenv", "tools")
		if _, err := os.Stat(root); err == nil {
			return root, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("tool: no testenv/tools above %s: run inside the repository", start)
		}
	}
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
