package client

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// DefaultParallel is how many transfers Push and Pull make at once when they are not told.
const DefaultParallel = 8

// PushOptions say what to publish and where. Path and Target are required.
type PushOptions struct {
	Path   string      // a folder, or one file
	Target ballast.Ref // the name; scope and version may be left out, an alias or digest may not be there
	// Metadata of the version. It is no part of its digest: an unchanged folder pushed again without a version is the
	// newest version as it is, whatever the metadata. NumParameters left out is what the weight files' headers say.
	Metadata ballast.Metadata
	// Include and Exclude select files by glob patterns as path.Match has them: one without "/" is compared with the
	// last segment of a path, one with "/" with all of it, and a pattern that fits a folder holds for everything in it.
	Include, Exclude []string
	Strict           bool          // refuse what else is a warning, before anything is sent
	Takeover         bool          // abort the upload that holds the label
	Alias            ballast.Alias // to point at the version once it is ready; zero: none
	Parallel         int           // transfers at once; 0: DefaultParallel
	// PartSize is the bytes of a part, proposed to the registry for files that are larger. 0 leaves it to the push, which
	// sends a file whole, up to ballast.MaxPutSize, while the way to the store is good enough for that.
	PartSize int64
	// HashDir is the folder that remembers the digests of files, so that a file that nobody touched is not read again.
	// Empty: hashes beside AttemptDir, or ballast/hashes in the user's cache folder. It is of use only where files have an
	// inode and a time of change.
	HashDir string
	Rehash  bool // reads every file, whatever is remembered of it
	// AttemptDir is the folder in which a push remembers its upload while it runs, so that a later one of the same
	// folder to the same target goes on with it. Empty: ballast/attempts in the user's cache folder; if there is none,
	// nothing is remembered.
	AttemptDir string
	Progress   Progress
}

// PushResult tells what a push did.
type PushResult struct {
	Version   ballast.VersionInfo `json:"version"`
	Unchanged bool                `json:"unchanged"` // the version was there before with the same files
	// MetadataKept says that the version was there before and has other metadata than was pushed: it keeps its own.
	MetadataKept bool     `json:"metadata_kept"`
	Sent         int64    `json:"sent"`              // bytes that travelled to the object store
	Skipped      []string `json:"skipped,omitempty"` // paths left out because no model holds such files
	// Warnings say which weight files are not what their names say, and which index names shards that are not there.
	Warnings []string `json:"warnings,omitempty"`
}

// Push publishes a folder or a file as a version, straight into the object store. What is there already is not sent.
// A push that was cut short goes on where it was when it is repeated.
//
// Errors: invalid for what cannot be published, naming the file, and with Strict for what is a warning else; conflict with Error.Holder while another upload holds
// the label; already_exists when the version holds other files; integrity when a file changed while it was pushed, or
// when bytes arrived damaged. With an error of the alias alone the result is complete: the version is ready.
func (c *Client) Push(ctx context.Context, o PushOptions) (PushResult, error) {
	if err := o.check(); err != nil {
		return PushResult{}, err
	}
	match, err := newFilter(o.Include, o.Exclude)
	if err != nil {
		return PushResult{}, err
	}
	found, err := scan(o.Path, match)
	if err != nil {
		return PushResult{}, err
	}
	p := newPush(c, o, newAttempts(o.AttemptDir, c.base, o.Target, o.Path), found.skipped)
	w := &walked{p, found.sources}
	p.supply = w
	w.plan()
	return p.publishAll(ctx)
}

// publishAll is Push once it is known where the files come from.
func (p *push) publishAll(ctx context.Context) (PushResult, error) {
	said := p.o.Metadata
	if err := p.supply.look(ctx); err != nil {
		return PushResult{Warnings: p.warnings, Skipped: p.skipped}, err
	}
	if err := p.c.checkTask(ctx, p.o.Metadata.Task); err != nil {
		return PushResult{Warnings: p.warnings, Skipped: p.skipped}, err
	}
	v, err := p.run(ctx)
	for again, lost := 1, false; again < p.c.tries && overtaken(err) && !lost; again++ {
		lost = ballast.CodeOf(err) == ballast.CodeLeaseLost // once: somebody may want the label as much
		p.note("starting anew: " + err.Error())
		v, err = p.run(ctx)
	}
	if err == nil && !p.o.Alias.IsZero() {
		err = p.c.pointAt(ctx, &v, p.o.Alias)
	}
	return PushResult{
		Version: v, Unchanged: p.unchanged, MetadataKept: p.unchanged && !saidOf(v, said),
		Sent: p.sent.Load(), Skipped: p.skipped, Warnings: p.warnings,
	}, err
}

// checkTask asks whether the registry knows a task that not every one does, before bytes are sent for nothing.
func (c *Client) checkTask(ctx context.Context, task string) error {
	if task == "" || ballast.IsTask(task) {
		return nil
	}
	all, err := c.Tasks(ctx)
	if err != nil {
		return err
	}
	known := make([]string, 0, len(all))
	for _, t := range all {
		known = append(known, t.Task)
	}
	if !slices.Contains(known, task) {
		return ballast.UnknownTask(task, known)
	}
	return nil
}

// pointAt points an alias at the version that was just pushed.
func (c *Client) pointAt(ctx context.Context, v *ballast.VersionInfo, alias ballast.Alias) error {
	if _, err := c.SetAlias(ctx, exactly(*v), alias, v.Version, 0); err != nil {
		return before(fmt.Sprintf("%s is ready, but @%s does not point at it: ", v.Key, alias), err)
	}
	if !slices.Contains(v.Aliases, alias) {
		v.Aliases = append(v.Aliases, alias)
	}
	return nil
}

// overtaken reports whether the upload came to an end under this push: by expiry or abort, or because another push of
// the same attempt committed it.
func overtaken(err error) bool {
	if err == nil {
		return false
	}
	e := ballast.AsError(err)
	return e.Code == ballast.CodeLeaseLost || e.Code == ballast.CodeConflict && e.Holder == nil
}

// exactly is the reference to one version that no later push changes the meaning of.
func exactly(v ballast.VersionInfo) ballast.Ref {
	return ballast.Ref{Scope: v.Scope, Name: v.Name, Version: v.Version}
}

// push is one run of Push, or of what ImportFrom has of it.
type push struct {
	c        *Client
	o        PushOptions
	memory   attempts
	supply   supply
	skipped  []string
	warnings []string
	slots    chan struct{} // one for each transfer
	way      *way
	known    *hashes
	fed      atomic.Bool // everything that is to be sent has been handed out

	size      int64 // of all files
	upload    ballast.Upload
	unchanged bool
	sent      atomic.Int64

	mu    sync.Mutex // guards what hashing fills in: files and blobs
	files map[string]ballast.File
	blobs map[digest.Digest]*blob
}

// supply is where the files of a push come from. It fills in the push's files and blobs. What it did in one run it knows
// in the next.
type supply interface {
	// look reads what the headers of weight files say, before anything is sent.
	look(ctx context.Context) error
	// send hashes every file and sends what the registry lacks.
	send(ctx context.Context) error
	// resend sends what a commit found missing.
	resend(ctx context.Context, missing []digest.Digest) error
	// hash hashes every file and sends nothing.
	hash(ctx context.Context) error
	// checkUnchanged refuses files that are not what was hashed any more.
	checkUnchanged() error
	// resumable reports whether the same push, repeated, can succeed with what was sent although this one failed with err.
	resumable(err error) bool
}

// blob is one content to publish. One goroutine at a time works on it.
type blob struct {
	digest   digest.Digest
	source   source // one of the files that hold it
	partSize int64
	parts    []digest.Digest
	chain    []string // behind each link of linkSize bytes but the last, for the registry; nil when it is not known
}

// linkSize is how far apart the states of SHA-256 are that a push notes of a file which goes up whole, in bytes.
const linkSize = ballast.DefaultPartSize

func (o PushOptions) hashDir() string {
	if o.HashDir == "" && o.AttemptDir != "" {
		return filepath.Join(filepath.Dir(o.AttemptDir), "hashes")
	}
	return o.HashDir
}

// check refuses what no push can be.
func (o PushOptions) check() error {
	if o.Target.Name.IsZero() || !o.Target.Alias.IsZero() || o.Target.Digest != "" {
		return ballast.Errorf(ballast.CodeInvalid, "push to a name, with or without a version, as in llama/tiny or acme::llama/tiny:1.2.0")
	}
	return o.Metadata.Check()
}

// newPush returns a push that lacks its supply.
func newPush(c *Client, o PushOptions, memory attempts, skipped []string) *push {
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	return &push{
		c: c, o: o, memory: memory, skipped: skipped,
		slots: make(chan struct{}, o.Parallel), way: &way{fixed: o.PartSize, parallel: o.Parallel}, known: newHashes(o.hashDir(), o.Rehash),
		files: make(map[string]ballast.File), blobs: make(map[digest.Digest]*blob),
	}
}

// run makes one upload, from its opening to the ready version.
func (p *push) run(ctx context.Context) (ballast.VersionInfo, error) {
	if err := p.open(ctx); err != nil {
		return p.notOpened(ctx, err)
	}
	ctx, stop := p.keepLease(ctx)
	defer stop()
	err := p.supply.send(ctx)
	if err == nil {
		err = p.supply.checkUnchanged()
	}
	var v ballast.VersionInfo
	if err == nil {
		v, err = p.publish(ctx)
	}
	p.settle(ctx, err)
	return v, err
}

// open opens the upload, or goes on with the one that an earlier push left.
func (p *push) open(ctx context.Context) (err error) {
	for try := 1; ; try++ {
		p.upload, err = p.c.CreateUpload(ctx, ballast.CreateUpload{
			Scope: p.o.Target.Scope, Name: p.o.Target.Name, Version: p.o.Target.Version, Attempt: p.memory.current(),
			Size: p.size,
		})
		e := ballast.AsError(err)
		switch {
		case err == nil && p.upload.Status == ballast.UploadPending:
			if *p.memory.left {
				p.way.tore() // what was cut off once may be again: then a large file loses a part and not all of it
			}
			return nil
		case err == nil: // committed by an earlier push: it ends by itself, and this one's files may be others
			u, err := p.c.follow(ctx, p.upload, p.o.Progress)
			if p.upload = u; err == nil && u.Status == ballast.UploadPending || p.mayGoOn(ctx, err) {
				return err
			}
			p.memory.forget()
		case e.Code == ballast.CodeConflict && e.Holder != nil && p.o.Takeover:
			if err := p.takeOver(ctx, e.Holder, try); err != nil {
				return err
			}
		default:
			return err
		}
		if try >= p.c.tries {
			return ballast.Errorf(ballast.CodeBusy, "%s stays held by other uploads; try again", p.o.Target)
		}
	}
}

// takeOver aborts the upload that holds the label. It may end by itself meanwhile.
func (p *push) takeOver(ctx context.Context, h *ballast.Holder, try int) error {
	p.note("taking over from upload " + h.Upload + " of " + h.CreatedBy)
	if err := p.c.Abort(ctx, h.Upload); err != nil && ballast.CodeOf(err) != ballast.CodeNotFound {
		return err
	}
	if try == 1 {
		return nil
	}
	return p.c.backoff(ctx, try, 0)
}

// notOpened ends a push to which the registry gave no upload. A version that exists with the same files is a success.
func (p *push) notOpened(ctx context.Context, err error) (ballast.VersionInfo, error) {
	if !p.mayGoOn(ctx, err) {
		p.memory.forget()
	}
	e := ballast.AsError(err)
	if e.Code != ballast.CodeAlreadyExists || e.Expected == "" {
		return ballast.VersionInfo{}, err
	}
	if err := p.supply.hash(ctx); err != nil {
		return ballast.VersionInfo{}, err
	}
	_, manifest, err := ballast.BuildManifest(p.fileList())
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	if e.Actual = ballast.DigestOf(manifest); e.Actual != e.Expected {
		e.Detail += "; the pushed files have digest " + e.Actual.String()
		return ballast.VersionInfo{}, e
	}
	p.unchanged = true
	return p.c.Version(ctx, p.o.Target)
}

// mayGoOn reports whether after err the same attempt can still succeed. A conflict is no verdict about it: a push of the
// same folder beside this one may have committed the upload.
func (p *push) mayGoOn(ctx context.Context, err error) bool {
	switch ballast.CodeOf(err) {
	case ballast.CodeConflict, ballast.CodeUnavailable, ballast.CodeRateLimited, ballast.CodeBusy, ballast.CodeInternal, ballast.CodeUnauthenticated:
		return true
	}
	return ctx.Err() != nil || err != nil && p.supply.resumable(err)
}

// settle forgets the attempt unless a repeated push can go on with it. An upload that can never succeed is given up, so
// that its label is free at once.
func (p *push) settle(ctx context.Context, err error) {
	if p.mayGoOn(ctx, err) {
		return
	}
	if err != nil && ballast.CodeOf(err) != ballast.CodeLeaseLost {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		if err := p.c.Abort(ctx, p.upload.ID); err != nil {
			p.c.log.InfoContext(ctx, "the upload was not aborted; its lease will end it", attrUpload, p.upload.ID, attrError, err)
		}
	}
	p.memory.forget()
}

// leaseBeat is well under the lease of an upload, which any call renews.
const leaseBeat = 2 * time.Minute

// keepLease renews the lease while a long file is hashed or sent. A failure shows at the next call that matters.
func (p *push) keepLease(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	id := p.upload.ID // a run that starts anew has another one
	go func() {
		for sleep(ctx, leaseBeat) == nil {
			_, _ = p.c.Upload(ctx, id, 0)
		}
	}()
	return ctx, cancel
}

func changed(path string) *ballast.Error {
	return ballast.Errorf(ballast.CodeIntegrity, "%q changed while it was pushed; let its writer finish and push again", path)
}

func (p *push) fileList() []ballast.File { return slices.Collect(maps.Values(p.files)) }

func (p *push) note(text string) { p.o.Progress.tell(Event{Phase: PhaseUpload, Note: text}) }
