package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/atomicfile"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/s3dev"
)

// Files of the data folder. The embedded store adds its own.
const (
	indexFile     = "index.db"
	recordKeyFile = "record.key"
	tokenFile     = "admin.token"
	storeKeysFile = "s3.credentials" // the embedded store's
)

// Attributes of the service's own log lines.
const (
	attrAddress = "address"
	attrError   = "error"
	attrItem    = "item" // of the index: its key
	attrStore   = "store"
)

// serving is a registry as it comes up, runs and goes down.
type serving struct {
	cmd *serveCmd
	app *app
	log *slog.Logger

	data        string
	embedded    *s3dev.Server // nil with a store of the user's
	store       objstore.Config
	where       ballast.StoreInfo
	api         net.Listener
	metrics     net.Listener // nil when turned off
	publicURL   string
	certificate *certificate // of the API; nil for plain HTTP
	identity    api.Identity // nil: the registry's own tokens alone are taken
	index       *index.Index
	engine      *engine.Engine
	registry    *prometheus.Registry // of metrics
	audit       *audit.Log           // nil when turned off

	closers []func() error // run last first
}

// open brings up everything but the answering of requests. Whatever can be refused without touching the store is
// refused before it is touched, and a taken port before the prefix is claimed.
func (s *serving) open(ctx context.Context) error {
	err := s.cmd.checkSettings()
	if err != nil {
		return err
	}
	if s.data, err = s.cmd.makeDataFolder(s.app.env); err != nil {
		return err
	}
	key, x, err := s.openIndex(ctx)
	if err != nil {
		return err
	}
	if err := s.openAudit(); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.secure(); err != nil {
		return err
	}
	if err := s.openIdentity(); err != nil {
		return err
	}
	bucket, err := s.openStore(ctx)
	if err != nil {
		return err
	}
	if err := s.openEngine(ctx, x, key, bucket); err != nil {
		return err
	}
	s.warnOfOpenFiles()
	return nil
}

func (s *serving) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *serving) close() {
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		if err := s.closers[last](); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("closing", slog.Any(attrError, err))
		}
		s.closers = s.closers[:last]
	}
}

// openIndex loads the record key and opens the index under its lock. Only a folder without an index gets a new key: a
// key that vanished from beside an index must be found again, since the bucket's records are signed with it.
func (s *serving) openIndex(ctx context.Context) (engine.RecordKey, *index.Index, error) {
	path := filepath.Join(s.data, indexFile)
	_, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	key, err := s.loadRecordKey(isNew)
	if err != nil {
		return key, nil, err
	}
	bolt, err := index.OpenBolt(path, index.BoltOptions{})
	if errors.Is(err, index.ErrLocked) {
		_, holder, _ := strings.Cut(err.Error(), index.ErrLocked.Error()) // " (process 123)", where that is known
		return key, nil, fmt.Errorf("another ballast serve%s uses the data folder %s: end it, or name another folder with --data", holder, s.data)
	}
	if err != nil {
		return key, nil, err
	}
	x, err := index.Open(ctx, bolt, time.Now, index.OnUpdate(s.watchUpdates()), index.OnDamage(func(ctx context.Context, key []byte, err error) {
		s.log.ErrorContext(ctx, "the index holds an item that cannot be read; it was passed over", slog.String(attrItem, fmt.Sprintf("%q", key)), slog.Any(attrError, err))
	}))
	if err != nil {
		return key, nil, errors.Join(err, bolt.Close())
	}
	s.index = x
	s.onClose(x.Close)
	return key, x, nil
}

func (s *serving) loadRecordKey(create bool) (engine.RecordKey, error) {
	if file := s.cmd.RecordKey; file != "" {
		return engine.LoadRecordKey(file, false)
	}
	path := filepath.Join(s.data, recordKeyFile)
	key, err := engine.LoadRecordKey(path, create)
	if errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("%w\nThe index is here and the key that signs its records is not: put the copy back, or name it with --record-key", err)
	}
	return key, err
}

// openStore starts the embedded store, if it is to be that, and tries on the store what clients could try.
func (s *serving) openStore(ctx context.Context) (bucket *objstore.S3, err error) {
	if s.cmd.S3.embedded() {
		if s.embedded, s.store, err = s.cmd.startEmbedded(ctx, s.data, s.log.With(slog.String(attrStore, "embedded"))); err != nil {
			return nil, err
		}
		s.onClose(func() error { s.embedded.Close(); return nil })
	} else {
		s.store = s.cmd.S3.config()
	}
	if at := cmp.Or(s.store.PublicEndpoint, s.store.Endpoint); at != "" {
		if err := checkHosts(s.publicURL, at); err != nil {
			return nil, err
		}
	}
	return s.openBucket(ctx)
}

// probe returns why the store cannot be used. What the probe leaves behind is said after that, which matters more.
func (s *serving) probe(ctx context.Context, bucket *objstore.S3) error {
	report, err := objstore.Probe(ctx, bucket, objstore.ProbeOptions{RegistryURL: s.publicURL})
	if err == nil {
		err = report.Refusal(s.cmd.AllowUnsafeStore)
	}
	switch left := report.Leftover; {
	case left == nil:
	case err == nil:
		s.log.WarnContext(ctx, "trying the store left something behind", slog.Any(attrError, left))
	default:
		return fmt.Errorf("%w\n\nTrying the store left something behind: %w", err, left)
	}
	return err
}

// openEngine claims the prefix and finishes what an earlier run began.
func (s *serving) openEngine(ctx context.Context, x *index.Index, key engine.RecordKey, store *objstore.S3) error {
	timed, err := objstore.Instrument(s.registry)
	if err != nil {
		return err
	}
	origins, err := s.cmd.openOrigins(store, timed)
	if err != nil {
		return err
	}
	s.lookAtOrigins(ctx, origins)
	opt := engine.Options{Index: x, Bucket: timed(store), Home: homeOf(s.store.Bucket, s.store.Prefix), Origins: origins, Signer: store, RecordKey: key, TakeOver: s.cmd.TakeOver, Logger: s.log, Audit: s.auditReader(),
		Snapshots: s.data, Leases: s.watchLeases(), Limits: s.cmd.engineLimits(), Disk: s.diskHasRoom}
	if s.embedded != nil {
		opt.Sync, opt.Room = s.embedded.Sync, s.room
	}
	if s.engine, err = engine.Open(ctx, opt); err != nil {
		return err
	}
	s.onClose(s.engine.Close)
	countFreed(s.registry, s.engine)
	_, err = s.engine.EnsureAdmin(ctx, s.saveAdminToken)
	return err
}

// spare is the free disk that completing an upload must leave, so that the index and the log can still be written.
const spare = 256 << 20

// room refuses an object that would fill the embedded store's disk: it writes a multipart object a second time.
func (s *serving) room(_ context.Context, size int64) error {
	free, err := s.embedded.Free()
	if err != nil {
		return err
	}
	if free < size+spare {
		return ballast.Errorf(ballast.CodeUnavailable, "the store's disk is too full: %d bytes are free and completing this file needs %d", free, size+spare)
	}
	return nil
}

// saveAdminToken writes the first token of an index to its file. A file of that name belonged to an index that is gone.
func (s *serving) saveAdminToken(token string) error {
	if err := atomicfile.Replace(filepath.Join(s.data, tokenFile), token+"\n"); err != nil {
		return fmt.Errorf("admin token: %w", err)
	}
	return nil
}

// serve answers requests until ctx ends or a listener fails.
func (s *serving) serve(ctx context.Context) error {
	guest := hub.New(s.engine, hub.Options{PublicURL: s.cmd.PublicURL})
	face := api.New(s.engine, api.Options{
		Logger: s.log, Audit: s.audit, Registerer: s.registry, Version: version, Guest: guest, Store: s.where,
		Identity: s.identity, AnonymousRead: s.cmd.AnonymousRead, Changes: s.diskHasRoom, Limits: s.cmd.Limits.limits(),
	})
	inFlight := &inFlight{}
	s.registerGauges(inFlight)
	face = inFlight.count(face)
	face = api.AllowHosts(api.AllowOrigins(face, s.cmd.Limits.CORSOrigin), allowedHosts(s.api.Addr(), s.publicURL))
	base, cut := context.WithCancel(context.Background())
	defer cut()
	front := api.NewServer(face, s.log)
	servers := map[*http.Server]net.Listener{front: api.BoundConnections(s.api, s.registry)}
	if s.certificate != nil {
		front.TLSConfig = &tls.Config{GetCertificate: s.certificate.get, MinVersion: tls.VersionTLS12}
	}
	if s.metrics != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
		servers[api.NewServer(api.AllowHosts(mux, allowedHosts(s.metrics.Addr(), s.publicURL)), s.log)] = s.metrics
	}
	g, running := errgroup.WithContext(ctx)
	for server, listener := range servers {
		server.BaseContext = func(net.Listener) context.Context { return base }
		g.Go(func() error {
			if err := answer(server, listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving %s: %w", listener.Addr(), err)
			}
			return nil
		})
		g.Go(func() error {
			<-running.Done()
			s.engine.Hurry() // which makes /readyz red, and answers who waits
			inFlight.drain(server, s.cmd.DrainTimeout, cut)
			return nil
		})
	}
	return g.Wait()
}

func answer(server *http.Server, l net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(l, "", "")
	}
	return server.Serve(l)
}

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
