//go:build !nos3dev

package s3dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
	"golang.org/x/sys/unix"
)

const linked = true

const (
	maxRequests    = 4096    // in flight; more are answered 503 SlowDown
	maxConnections = 8192    // open, idle ones included
	maxParts       = 10_000  // of a multipart upload, S3's own limit
	maxCopy        = 5 << 30 // bytes of one CopyObject, S3's own limit; versitygw's zero value refuses every copy
	lockWait       = 5 * time.Second
	drainLimit     = 2 * time.Second // for requests in flight, once the parent is gone
)

// Child is the whole work of the store's process: it takes its command from stdin, serves, and returns the exit code
// when stdin ends. It owns the process: it changes the working directory, standard streams and signal handling.
func Child() int {
	// Ctrl-C reaches the whole process group and a service manager signals every process: the parent must still be able
	// to finish what it does with the store, so only the pipe ends the child.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	out := json.NewEncoder(os.Stdout)
	os.Stdout = os.Stderr // versitygw prints; stdout holds the report only

	in := json.NewDecoder(os.Stdin)
	var cmd command
	if err := in.Decode(&cmd); err != nil {
		fmt.Fprintln(os.Stderr, "s3dev: this command is run by `ballast serve`, not by hand")
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, cmd, out) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()

	select {
	case err := <-served:
		return giveUp(out, err)
	case <-ctx.Done():
	}
	select {
	case <-served:
	case <-time.After(drainLimit):
	}
	return 0
}

// giveUp reports why the store does not, or no longer, run. A report after the first is read by nobody; stderr is.
func giveUp(out *json.Encoder, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "s3dev:", err)
	_ = out.Encode(report{Error: err.Error(), Taken: errors.Is(err, syscall.EADDRINUSE)})
	return 1
}

// serve runs the gateway until ctx ends, on the first address that works.
func serve(ctx context.Context, cmd command, out *json.Encoder) error {
	unlock, err := lockData(ctx, cmd.Data)
	if err != nil {
		return err
	}
	defer unlock()
	keys, err := ReadKeys(filepath.Join(cmd.Data, "s3.credentials"))
	if err != nil {
		return err
	}
	attributes, folders, err := attributeStore(cmd.Data)
	if err != nil {
		return err
	}
	for {
		address, err := freeAddress(cmd.Listen, cmd.Movable)
		if err != nil {
			return err
		}
		listening := func() {
			_ = writeHolder(cmd.Data, address) // for Running, which does without
			_ = out.Encode(report{Address: address, Folders: folders})
		}
		err = runGateway(ctx, cmd, address, keys, attributes, listening)
		if !errors.Is(err, syscall.EADDRINUSE) || !cmd.Movable && address == cmd.Listen {
			return err
		}
	}
}

// runGateway serves on address until ctx ends; listening is called once the port is bound.
func runGateway(ctx context.Context, cmd command, address string, keys Keys, attributes meta.MetadataStorer, listening func()) error {
	opt := posix.PosixOpts{
		CopyObjectThreshold: maxCopy,
		Concurrency:         maxRequests, // a slow upload holds a slot to its end, so fewer would stall the others
	}
	opt.SetNewDirPerm(0o700)
	opt.SetNewFilePerm(0o600)
	backend, err := posix.New(objectsFolder(cmd.Data), bytesFirst{attributes}, opt)
	if err != nil {
		return err
	}
	options := []s3api.Option{s3api.WithOnListen(listening), s3api.WithMiddleware("/", closeAfterChunked)}
	if cmd.Fsync {
		options = append(options, s3api.WithMiddleware("/", fsyncWrites(objectsFolder(cmd.Data))))
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess:    keys.ID,
		RootUserSecret:    keys.Secret,
		IAMService:        auth.NewIAMServiceSingle(auth.Account{Access: keys.ID, Secret: keys.Secret, Role: auth.RoleAdmin}),
		Region:            region,
		Ports:             []string{address},
		MaxConnections:    maxConnections,
		MaxRequests:       maxRequests,
		MultipartMaxParts: maxParts,
		KeepAlive:         true,
		DisableACLs:       true, // one identity: nothing to share with anybody, whatever a header asks
		Quiet:             true,
		S3Options:         options,
	})
}

// attributeStore chooses where object attributes live: in extended attributes, or in a folder of their own when the file
// system has none. A folder that was once chosen stays, since its attributes are nowhere else.
func attributeStore(data string) (meta.MetadataStorer, []string, error) {
	objects, sidecar := objectsFolder(data), sidecarFolder(data)
	_, err := os.Stat(sidecar)
	if errors.Is(err, os.ErrNotExist) {
		probeErr := probeAttributes(objects)
		if probeErr == nil {
			return meta.XattrMeta{}, []string{objects}, nil
		}
		fmt.Fprintf(os.Stderr, "s3dev: %s has no extended attributes (%v): attributes are kept in %s\n", objects, probeErr, sidecar)
		err = os.Mkdir(sidecar, 0o700)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("folder of attributes: %w", err)
	}
	store, err := meta.NewSideCar(sidecar)
	return store, []string{objects, sidecar}, err
}

// probeAttributes tries what the store will do, with as many bytes as an object's attributes take.
func probeAttributes(folder string) error {
	const name = "ballast-probe"
	if err := (meta.XattrMeta{}).StoreAttribute(nil, folder, "", name, make([]byte, 1024)); err != nil {
		return err
	}
	return meta.XattrMeta{}.DeleteAttribute(folder, "", name)
}

// lockData keeps a second process off the folder. The lock dies with its process; a dying predecessor is waited for.
func lockData(ctx context.Context, data string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(data, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, writePID(f)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("another process serves the objects in %s; %s holds its id: %w", data, f.Name(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// writePID leaves word of who holds the lock.
func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(f, os.Getpid())
	return err
}

// writeHolder leaves word, beside the id, of where the holder of the lock listens.
func writeHolder(data, address string) error {
	return os.WriteFile(filepath.Join(data, lockFile), fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), address), 0o600)
}
