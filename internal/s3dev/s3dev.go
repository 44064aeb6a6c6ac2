// Package s3dev is the embedded object store: a real S3 endpoint over a local folder, so that `ballast serve` works with
// no settings and there is one path for data, whatever the store.
//
// The endpoint is versitygw's posix backend. It changes the process's working directory, prints, and can run once per
// process, so it lives in a child process of the same binary: [Start] spawns it, [Child] is what it runs. Objects are
// plain files below <data>/s3/<bucket>, readable with any tool while nothing runs. Completing a multipart upload copies
// the parts: it takes time and free disk of the object's size.
//
// The build tag nos3dev leaves all of it out; Start then returns [ErrLeftOut].
package s3dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultListen is where the store listens when nobody says where. It may move to the next free port.
const DefaultListen = "127.0.0.1:9000"

// Bucket is the bucket that every start makes. Further ones are whoever's has the keys.
const Bucket = "ballast"

const region = "us-east-1"

// ErrLeftOut is what Start returns in a binary built with the tag nos3dev.
var ErrLeftOut = errors.New("s3dev: this binary was built without the embedded store (tag nos3dev): give --s3-endpoint and --s3-bucket")

// ErrAddressTaken is what Start returns when another process listens on Options.Listen.
var ErrAddressTaken = errors.New("s3dev: address is taken")

// Options say where the store lives and how to run its process.
type Options struct {
	// Data is the folder that holds s3.credentials, s3.lock and the objects; it is made when absent.
	Data string
	// Listen is host:port. Empty means DefaultListen or, when that is taken, the next free port. An address that is given
	// and taken is ErrAddressTaken, DefaultListen too. Port 0 picks a free one.
	Listen string
	// Args are what the running binary takes to end up in Child.
	Args []string
	// Env is added to the child's environment, as "KEY=value".
	Env []string
	// Logger receives the child's output and its deaths. Nil discards them.
	Logger *slog.Logger
}

// Server is a running embedded store. When its process dies unexpectedly it is started again on the same address, with
// a growing pause, until Close; requests fail with connection errors in between.
type Server struct {
	Endpoint        string // http://host:port, the way this machine reaches it
	Bucket          string // made by every start
	Region          string // the only one that the endpoint accepts in signatures
	CredentialsFile string // AWS shared-credentials format, profile default
	Keys            Keys   // what CredentialsFile holds

	opt     Options
	fsync   bool   // the child flushes each object before it acknowledges it
	address string // host:port that the child listens on
	flush   coalescer
	folders []*os.File // one for each file system to flush, open for as long as the server lives
	stop    context.CancelFunc
	stopped chan struct{}
}

// Start makes the folders and keys when they are absent, starts the endpoint and returns when it answers. ctx bounds
// the start only; Close ends the server. One process serves a folder at a time: Start waits a few seconds for a dying
// predecessor, then fails.
func Start(ctx context.Context, opt Options) (*Server, error) {
	if !linked {
		return nil, ErrLeftOut
	}
	s, err := prepare(opt)
	if err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// launch starts the first child and the goroutine that looks after it.
func (s *Server) launch(ctx context.Context) error {
	listen, movable := s.opt.Listen, false
	if listen == "" {
		listen, movable = DefaultListen, true
	}
	child, rep, err := s.spawn(ctx, listen, movable)
	if err != nil {
		return err
	}
	s.address = rep.Address
	s.Endpoint = "http://" + reachable(rep.Address)
	if err := s.openFolders(rep.Folders); err != nil {
		child.end()
		return err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.supervise(life, child)
	return nil
}

// prepare makes everything below the data folder that must exist before the child starts.
func prepare(opt Options) (*Server, error) {
	data, err := filepath.Abs(opt.Data)
	if err != nil {
		return nil, fmt.Errorf("s3dev: data folder %q: %w", opt.Data, err)
	}
	opt.Data = data
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Join(objectsFolder(data), Bucket), 0o700); err != nil {
		return nil, fmt.Errorf("s3dev: making the bucket's folder: %w", err)
	}
	file := filepath.Join(data, "s3.credentials")
	keys, err := loadOrMakeKeys(file)
	if err != nil {
		return nil, err
	}
	s := &Server{Bucket: Bucket, Region: region, CredentialsFile: file, Keys: keys, opt: opt, fsync: childSyncs, stopped: make(chan struct{})}
	s.flush.work = s.syncFolders
	return s, nil
}

func objectsFolder(data string) string { return filepath.Join(data, "s3") }

// sidecarFolder holds the objects' attributes on file systems without extended attributes. Its name must not begin with
// the objects folder's: versitygw compares the two as strings.
func sidecarFolder(data string) string { return filepath.Join(data, "attributes") }

// openFolders keeps one handle open on each folder. The kernel reports a failed write-back to every handle that was open
// when it happened, once; a handle opened after the failure would never hear of it.
func (s *Server) openFolders(paths []string) error {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			s.closeFolders()
			return fmt.Errorf("s3dev: opening the folder to flush: %w", err)
		}
		s.folders = append(s.folders, f)
	}
	return nil
}

func (s *Server) closeFolders() {
	for _, f := range s.folders {
		_ = f.Close() // opened for reading
	}
}

// Sync returns when every object that the store acknowledged before the call is on stable storage. Calls at the same
// time share the work; it goes on when ctx ends first.
func (s *Server) Sync(ctx context.Context) error {
	if err := s.flush.do(ctx); err != nil {
		return fmt.Errorf("s3dev: flushing objects to disk: %w", err)
	}
	return nil
}

// Free is the number of bytes that an unprivileged writer may still add to the file system of the objects.
func (s *Server) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(objectsFolder(s.opt.Data), &st); err != nil {
		return 0, fmt.Errorf("s3dev: free space of the objects' folder: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Close ends the child, waiting a moment for requests in flight. A second call does nothing.
func (s *Server) Close() {
	s.stop()
	<-s.stopped
}

// coalescer runs work so that each caller returns after a run that began after its call, and callers that arrive during
// a run share the next one.
type coalescer struct {
	work func() error

	mu   sync.Mutex
	busy bool
	next *round // not begun yet; nil when nobody waits
}

type round struct {
	done chan struct{}
	err  error // set before done is closed
}

func (c *coalescer) do(ctx context.Context) error {
	c.mu.Lock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	r := c.next
	if !c.busy {
		c.busy = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *coalescer) run() {
	for r := c.take(); r != nil; r = c.take() {
		r.err = c.work()
		close(r.done)
	}
}

// take begins the next round, or goes idle.
func (c *coalescer) take() *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.next
	c.next = nil
	c.busy = r != nil
	return r
}
