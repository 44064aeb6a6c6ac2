package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/weights"
)

// DefaultFetches is how many files ImportFrom fetches and sends at once when it is not told.
const DefaultFetches = 4

// ImportFromOptions say what to publish and where. From and Target are required.
type ImportFromOptions struct {
	From     Origin
	Target   ballast.Ref      // as for a push
	Metadata ballast.Metadata // of the version
	// Include and Exclude select files as those of a push do.
	Include, Exclude []string
	Strict           bool          // refuse weight files that are not what their names say, before any is fetched as a whole
	Takeover         bool          // abort the upload that holds the label
	Alias            ballast.Alias // to point at the version once it is ready; zero: none
	Files            int           // fetched and sent at once; 0: DefaultFetches
	PartSize         int64         // as in PushOptions
	// Spool is the folder below which files lie from when they are fetched until they are sent, and what a repeated import
	// goes on with. Empty: ballast/imports in the user's cache folder. It needs room for Files files.
	Spool    string
	Progress Progress
}

// ImportFromResult tells what an import through this machine did.
type ImportFromResult struct {
	PushResult
	Source  string `json:"source"`
	Fetched int64  `json:"fetched"` // bytes that travelled from the source
}

// ImportFrom publishes the files of an origin as a version: they travel through this machine, which needs room for those in
// flight alone. What the registry's scope has already is not fetched where the origin states digests, and never sent. An
// import that was cut short goes on where it was when it is repeated: bytes that were fetched are not fetched again.
// Progress tells of PhaseDownload, PhaseUpload and PhaseVerify.
//
// Errors: those of Push and of the origin; integrity, naming the file, when its bytes are not what the origin states;
// conflict while another process imports the same to the same target.
func (c *Client) ImportFrom(ctx context.Context, o ImportFromOptions) (ImportFromResult, error) {
	push := PushOptions{
		Target: o.Target, Metadata: o.Metadata, Strict: o.Strict, Takeover: o.Takeover, Alias: o.Alias, PartSize: o.PartSize, Progress: o.Progress,
	}
	result := ImportFromResult{Source: o.From.String()}
	if err := push.check(); err != nil {
		return result, err
	}
	match, err := newFilter(o.Include, o.Exclude)
	if err != nil {
		return result, err
	}
	files, skipped, err := listOrigin(ctx, o.From, match)
	if err != nil {
		return result, err
	}
	spool, err := openSpool(o.Spool, c.base, o.From, o.Target)
	if err != nil {
		return result, err
	}
	m := &importing{push: newPush(c, push, spool.memory(), skipped), from: o.From, files: files, spool: spool, atOnce: o.Files}
	if m.atOnce <= 0 {
		m.atOnce = DefaultFetches
	}
	m.supply = m
	for _, f := range files {
		m.size += max(f.Size, 0)
	}
	result.PushResult, err = m.publishAll(ctx)
	if result.Fetched = m.fetched.Load(); result.Version.Key != "" || !m.mayGoOn(ctx, err) { // the alias alone may have failed
		spool.remove()
	} else {
		spool.close()
	}
	return result, err
}

// importing supplies a push with the files of an origin. Each goes through the spool: it is fetched and hashed, the registry
// is asked, and what it lacks is sent.
type importing struct {
	*push
	from    Origin
	files   []OriginFile
	spool   *spool
	atOnce  int
	fetched atomic.Int64
}

// look reads, when that can be a refusal, the headers of weight files by ranges.
func (m *importing) look(ctx context.Context) error {
	if !m.o.Strict {
		return nil
	}
	files := make([]weights.File, 0, len(m.files))
	for _, f := range m.files {
		files = append(files, weights.File{Path: f.Path, Source: weights.Source{Size: f.Size, ReadAt: func(ctx context.Context, b []byte, off int64) error {
			return m.readAt(ctx, f, b, off)
		}}})
	}
	return m.inspect(ctx, files)
}

// send delivers what the registry lacks. Of files whose digests are known it is asked before any is fetched.
func (m *importing) send(ctx context.Context) error {
	lacking, err := m.askFirst(ctx)
	if err != nil {
		return err
	}
	m.planFetching(lacking)
	return m.each(ctx, lacking, m.deliver)
}

// each does what with files, a few at once.
func (m *importing) each(ctx context.Context, files []OriginFile, what func(context.Context, OriginFile) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(m.atOnce)
	for _, f := range files {
		g.Go(func() error {
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			return what(gctx, f)
		})
	}
	return g.Wait()
}

func (m *importing) planFetching(files []OriginFile) {
	plan := Event{Phase: PhaseDownload, Files: len(files)}
	for _, f := range files {
		plan.Total += f.Size
	}
	if plan.Files > 0 {
		m.o.Progress.tell(plan)
	}
}

// askFirst returns the files to fetch: those whose digests are not known, and of the others those that the registry lacks.
func (m *importing) askFirst(ctx context.Context) (lacking []OriginFile, err error) {
	var known []*blob
	byDigest := make(map[digest.Digest]OriginFile)
	for _, f := range m.files {
		d, ok := m.digestOf(f)
		if !ok {
			lacking = append(lacking, f)
			continue
		}
		if b := m.noteFile(f, d); b != nil {
			known, byDigest[d] = append(known, b), f
		}
	}
	for batch := range slices.Chunk(known, ballast.MaxBlobsPerCall) {
		asks := make([]ballast.BlobRequest, len(batch))
		for i, b := range batch {
			asks[i] = b.ask(nil)
		}
		answers, err := m.inquire(ctx, asks)
		if err != nil {
			return nil, err
		}
		for i, b := range batch {
			if toSend(answers[i]) && !hasAllParts(answers[i]) {
				lacking = append(lacking, byDigest[b.digest])
			}
		}
	}
	return lacking, nil
}

// digestOf is the digest of a file as far as it is known: stated, told by an earlier run, or the twin of one.
func (m *importing) digestOf(f OriginFile) (digest.Digest, bool) {
	m.mu.Lock()
	held, ok := m.push.files[f.Path]
	m.mu.Unlock()
	if ok {
		return held.Digest, true
	}
	return m.spool.digestOf(f)
}

// hasAllParts reports whether the store has all that this upload declared of a blob, so that a commit completes it.
func hasAllParts(a ballast.BlobAnswer) bool {
	return a.Method == ballast.MethodMultipart && a.PartSize > 0 && len(a.Have) == ballast.PartCount(a.Size, a.PartSize)
}

// noteFile enters a file with its digest, and returns the blob to send for it; nil when another file has the same bytes, or
// when there are none.
func (m *importing) noteFile(f OriginFile, d digest.Digest) *blob {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.push.files[f.Path] = ballast.File{Path: f.Path, Size: f.Size, Digest: d}
	if b, twin := m.blobs[d]; twin && b.source.path != f.Path || f.Size == 0 {
		return nil
	}
	b := &blob{digest: d, source: source{path: f.Path, stamp: stamp{size: f.Size}}, partSize: m.way.partSize(f.Size)}
	m.blobs[d] = b
	return b
}

// deliver fetches a file and sends it unless the registry has it.
func (m *importing) deliver(ctx context.Context, f OriginFile) error {
	s, err := m.fetch(ctx, f)
	if err != nil {
		return err
	}
	d := s.sum.Digest()
	if err = m.spool.note(f, d); err == nil {
		if b := m.noteFile(f, d); b != nil {
			err = m.sendSpooled(ctx, b, s)
		}
	}
	if s.close(); err == nil {
		err = s.remove()
	}
	return err
}

// sendSpooled sends a file that is whole.
func (m *importing) sendSpooled(ctx context.Context, b *blob, s *spooled) error {
	info, err := s.file.Stat()
	if err != nil {
		return m.spool.trouble(s.of.Path, 0, err)
	}
	b.source.file, b.source.stamp = s.bytesName(), stampOf(info)
	b.partSize, b.parts = s.sum.PartSize(), s.sum.Parts()
	answers, err := m.inquire(ctx, []ballast.BlobRequest{b.ask(nil)})
	if err != nil || !toSend(answers[0]) {
		return err
	}
	m.planSending([]*blob{b}, answers)
	return m.sendBlob(ctx, job{b, answers[0]})
}

// resend fetches again what a commit found missing: the spool has let go of it.
func (m *importing) resend(ctx context.Context, missing []digest.Digest) error {
	var files []OriginFile
	for _, d := range missing {
		b, err := m.blobOf(d)
		if err != nil {
			return err
		}
		i, _ := slices.BinarySearchFunc(m.files, b.source.path, func(f OriginFile, path string) int { return strings.Compare(f.Path, path) })
		files = append(files, m.files[i])
	}
	m.planFetching(files)
	return m.each(ctx, files, m.deliver)
}

// hash fetches the files whose digests are not known, to compare them with a version that is there.
func (m *importing) hash(ctx context.Context) error {
	if err := m.checkSizes(ctx); err != nil {
		return err
	}
	var unknown []OriginFile
	for _, f := range m.files {
		if d, ok := m.digestOf(f); ok {
			m.noteFile(f, d)
		} else {
			unknown = append(unknown, f)
		}
	}
	m.planFetching(unknown)
	return m.each(ctx, unknown, func(ctx context.Context, f OriginFile) error {
		s, err := m.fetch(ctx, f)
		if err != nil {
			return err
		}
		s.close()
		m.noteFile(f, s.sum.Digest())
		return errors.Join(m.spool.note(f, s.sum.Digest()), s.remove())
	})
}

// checkSizes compares the files with a version that is there, before any is fetched to learn its digest.
func (m *importing) checkSizes(ctx context.Context) error {
	v, err := m.c.Version(ctx, m.o.Target)
	if err != nil {
		return err
	}
	var total int64
	for _, f := range m.files {
		total += f.Size
	}
	if v.Files != len(m.files) || v.Size != total {
		return ballast.Errorf(ballast.CodeAlreadyExists, "%s exists with other files: %d of %d bytes in all, and %s lists %d of %d; give another version, or none for the next one",
			v.Key, v.Files, v.Size, m.from, len(m.files), total)
	}
	return nil
}

// checkUnchanged has nothing to look at: each file was fetched as it was listed.
func (*importing) checkUnchanged() error { return nil }

// resumable: what the origin refuses it may grant to the same command repeated, and the other files are there by then.
func (*importing) resumable(err error) bool {
	var of *originError
	return errors.As(err, &of)
}
