package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// offlineFlags say which registry a command works on that opens index and bucket itself, as serve's flags do. Env variables
// are serve's.
type offlineFlags struct {
	Data      string     `env:"BALLAST_DATA" type:"path" placeholder:"DIR" help:"Folder of the index, the keys and the embedded store (default $$XDG_DATA_HOME/ballast)."`
	RecordKey string     `env:"BALLAST_RECORD_KEY" type:"path" placeholder:"FILE" help:"File with the keys of version records: the first signs, the others verify (default: record.key in the data folder)."`
	S3        storeFlags `embed:"" prefix:"s3-" envprefix:"BALLAST_S3_" group:"Object store"`
	// AllowUnsafeStore is taken so that the service's own settings will do. It changes nothing: nothing is signed here for others.
	AllowUnsafeStore bool `env:"BALLAST_ALLOW_UNSAFE_STORE" hidden:"" group:"Object store"`

	LogLevel string       `env:"BALLAST_LOG_LEVEL" enum:"debug,info,warn,error" default:"warn" help:"Least level of the lines on stderr: debug, info, warn or error."`
	Config   settingsFile `placeholder:"FILE" help:"YAML or JSON file with these settings, named as the flags. Flags and BALLAST_… variables win."`
}

// offline is a registry that no service runs: its index is locked by this command.
type offline struct {
	data   string
	index  *index.Index
	bucket objstore.Bucket
	sync   func(context.Context) error // nil with a store that is durable by itself
	log    *slog.Logger

	closers []func() error // run last first
}

// open opens data folder, index and bucket. It refuses while a service, or another such command, holds the lock.
func (f *offlineFlags) open(ctx context.Context, a *app) (o *offline, err error) {
	if err := f.S3.check(); err != nil {
		return nil, err
	}
	o = &offline{log: newLogger(a.stderr, "text", f.LogLevel)}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	serve := &serveCmd{Data: f.Data, S3: f.S3}
	if o.data, err = serve.makeDataFolder(a.env); err != nil {
		return o, err
	}
	if err = o.openIndex(ctx); err != nil {
		return o, err
	}
	cfg := f.S3.config()
	if f.S3.embedded() {
		server, embedded, err := serve.startEmbedded(ctx, o.data, o.log.With(slog.String(attrStore, "embedded")))
		if err != nil {
			return o, err
		}
		o.closers = append(o.closers, func() error { server.Close(); return nil })
		cfg, o.sync = embedded, server.Sync
	}
	o.bucket, err = objstore.Open(ctx, cfg)
	return o, err
}

func (o *offline) openIndex(ctx context.Context) error {
	bolt, err := index.OpenBolt(filepath.Join(o.data, indexFile), index.BoltOptions{})
	if errors.Is(err, index.ErrLocked) {
		_, holder, _ := strings.Cut(err.Error(), index.ErrLocked.Error()) // " (process 123)", where that is known
		return fmt.Errorf("a ballast serve%s, or another command of this kind, uses the data folder %s: end it first, since this command works on index and bucket itself", holder, o.data)
	}
	if err != nil {
		return err
	}
	if o.index, err = index.Open(ctx, bolt, time.Now); err != nil {
		return errors.Join(err, bolt.Close())
	}
	o.closers = append(o.closers, o.index.Close)
	return nil
}

// recordKey loads the keys of records. With create a data folder without them gets one.
func (f *offlineFlags) recordKey(data string, create bool) (engine.RecordKey, error) {
	if f.RecordKey != "" {
		return engine.LoadRecordKey(f.RecordKey, false)
	}
	path := filepath.Join(data, recordKeyFile)
	key, err := engine.LoadRecordKey(path, create)
	if errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("there is no %s", path)
	}
	return key, err
}

func (o *offline) close() error {
	var all []error
	for len(o.closers) > 0 {
		last := len(o.closers) - 1
		all = append(all, o.closers[last]())
		o.closers = o.closers[:last]
	}
	return errors.Join(all...)
}
