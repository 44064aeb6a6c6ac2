package client

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Origin is a place outside of a registry whose files ImportFrom publishes. It may be asked from several goroutines.
//
// Errors: a *ballast.Error with unavailable, rate_limited or busy, or an error that is none, may be over at the next try,
// and ImportFrom makes one, after Error.RetryAfter; any other code is final. precondition is for a file that is not any
// more what Files said. No error holds a credential.
type Origin interface {
	// String names the place as a person writes it. An import from the same name to the same target goes on with what an
	// earlier one left.
	String() string
	// Files yields the files as they are now, each path once. Paths are not to be relied on: ImportFrom checks them.
	Files(ctx context.Context) iter.Seq2[OriginFile, error]
	// Open returns length bytes of a file from offset on, as it was when Files yielded it. They lie inside of the file, and
	// length is over 0. A stream that ends early is taken for one that broke. The caller closes it.
	Open(ctx context.Context, f OriginFile, offset, length int64) (io.ReadCloser, error)
}

// OriginFile is a file of an Origin.
type OriginFile struct {
	Path string // below the place, "/" between segments
	Size int64  // bytes
	// Version is another text whenever the bytes are others: an ETag, or the id of the contents.
	Version string
	// Digest of the contents, if the place states it. What the registry has with that digest is not fetched, and what is
	// fetched must have it.
	Digest digest.Digest
	// GitBlob is git's id of the contents in hex, if the place states that; what is fetched must have it.
	GitBlob string
}

// listOrigin takes the files that an import is of, sorted by path, and the beginnings of the paths that it leaves out.
func listOrigin(ctx context.Context, from Origin, match filter) (files []OriginFile, skipped []string, err error) {
	const most = 10 * ballast.MaxFiles // files or not
	looked, left := 0, 0
	for f, err := range from.Files(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if looked++; looked > most {
			return nil, nil, ballast.Errorf(ballast.CodeTooLarge, "%s lists over %d files, most of them no part of a model; import from a folder below it", from, most)
		}
		if what, skip := ballast.NotOfAModel(f.Path); skip {
			if !slices.Contains(skipped, what) {
				skipped = append(skipped, what)
			}
			continue
		}
		if err := checkListed(from, f); err != nil { // before the path is taken apart
			return nil, nil, err
		}
		if match.excludes(f.Path) || !match.includes(f.Path) {
			left++
			continue
		}
		if files = append(files, f); len(files) > ballast.MaxFiles {
			return nil, nil, ballast.Errorf(ballast.CodeTooLarge, "%s lists more than %d files; a version holds no more: leave some out with --exclude", from, ballast.MaxFiles)
		}
	}
	switch {
	case len(files) == 0 && left > 0:
		return nil, nil, ballast.Errorf(ballast.CodeInvalid, "what is to be included and excluded leaves nothing of the %d files at %s; look at --include and --exclude", left, from)
	case len(files) == 0:
		return nil, nil, ballast.Errorf(ballast.CodeNotFound, "there is nothing to import at %s", from)
	}
	slices.SortFunc(files, func(a, b OriginFile) int { return strings.Compare(a.Path, b.Path) })
	return files, skipped, checkTogether(from, files)
}

func checkListed(from Origin, f OriginFile) error {
	if err := ballast.CheckPath(f.Path); err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "%s lists what can be no file: %s", from, ballast.AsError(err).Detail)
	}
	if f.Size < 0 || f.Size > ballast.MaxFileSize {
		return ballast.Errorf(ballast.CodeInvalid, "%s lists %q with %d bytes; a file has 0 to 5 TiB", from, f.Path, f.Size)
	}
	if (f.Size == 0) != (f.Digest == ballast.EmptyDigest) && f.Digest != "" {
		return misstated(from, f)
	}
	return nil
}

func misstated(from Origin, f OriginFile) error {
	return ballast.Errorf(ballast.CodeIntegrity, "%q: %s lists it with %d bytes and a SHA-256 that cannot be theirs: %s; tell whoever runs it", f.Path, from, f.Size, f.Digest)
}

// checkTogether refuses files that cannot be together in a version, before any is fetched: digests that are not known yet
// are stood in for.
func checkTogether(from Origin, files []OriginFile) error {
	all, sizes := make([]ballast.File, len(files)), make(map[digest.Digest]int64)
	for i, f := range files {
		if size, twin := sizes[f.Digest]; twin && f.Digest != "" && size != f.Size {
			return misstated(from, f)
		}
		sizes[f.Digest] = f.Size
		all[i] = ballast.File{Path: f.Path, Size: f.Size, Digest: ballast.DigestOf([]byte(f.Path))}
		if f.Size == 0 {
			all[i].Digest = ballast.EmptyDigest
		}
	}
	if err := ballast.CheckFiles(all); err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "%s: %s", from, ballast.AsError(err).Detail)
	}
	return nil
}
