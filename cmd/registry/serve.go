package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// serveCmd runs the registry. Help is its manual.
type serveCmd struct {
	Listen        string `env:"BALLAST_LISTEN" placeholder:"HOST:PORT" help:"Address of the API (default localhost:8080; when that is taken, the next free port)."`
	PublicURL     string `name:"public-url" env:"BALLAST_PUBLIC_URL" placeholder:"URL" help:"URL under which clients reach the API (default: made from --listen)."`
	Data          string `env:"BALLAST_DATA" type:"path" placeholder:"DIR" help:"Folder of the index, the keys and the embedded store (default $$XDG_DATA_HOME/ballast)."`
	MetricsListen string `env:"BALLAST_METRICS_LISTEN" placeholder:"HOST:PORT" help:"Address of /metrics (default localhost:9464, or the next free port); \"off\" for none."`
	RecordKey     string `env:"BALLAST_RECORD_KEY" type:"path" placeholder:"FILE" help:"File with the key that signs version records (default: record.key in the data folder)."`

	ImportAllow []allowed `env:"BALLAST_IMPORT_ALLOW" placeholder:"SCOPE=s3://BUCKET/FOLDER/" help:"Let a tenant, or global, import from a place of the same store beside its inbox, with the service's credentials. Repeatable, or separated by commas."`

	Limits limitFlags `embed:"" group:"Limits"`

	GC gcFlags `embed:"" prefix:"gc-" group:"Garbage"`

	TLS tlsFlags `embed:"" prefix:"tls-" group:"TLS"`

	OIDC          oidcFlags `embed:"" prefix:"oidc-" group:"Identity"`
	AnonymousRead bool      `env:"BALLAST_ANONYMOUS_READ" group:"Identity" help:"Let whoever sends no credentials at all read the models of global."`

	S3               storeFlags `embed:"" prefix:"s3-" envprefix:"BALLAST_S3_" group:"Object store"`
	AllowUnsafeStore bool       `env:"BALLAST_ALLOW_UNSAFE_STORE" group:"Object store" help:"Start on a store that accepts a signature of zeros (CVE-2026-40344). Waives nothing else."`
	TakeOver         bool       `group:"Object store" help:"Make this index the owner of the prefix. The former owner stops writing; this one waits a minute for it."`

	SnapshotInterval time.Duration `env:"BALLAST_SNAPSHOT_INTERVAL" default:"1h" placeholder:"TIME" help:"Copy the index to the bucket this often, when it changed, and at the end: what a rebuild cannot read from version records it takes from there. 0 for never."`
	SnapshotKeep     int           `env:"BALLAST_SNAPSHOT_KEEP" default:"24" placeholder:"N" help:"Copies of the index that stay in the bucket."`
	MinFree          string        `env:"BALLAST_MIN_FREE" placeholder:"SIZE" default:"256MiB" help:"While less is free on the disk of the data folder, changes are refused and /readyz is red; reads go on."`
	DrainTimeout     time.Duration `env:"BALLAST_DRAIN_TIMEOUT" placeholder:"DURATION" default:"8s" help:"When told to stop, wait as long for requests in flight; transfers between clients and the store go on without the registry."`

	Audit auditFlags `embed:"" prefix:"audit-" envprefix:"BALLAST_AUDIT_" group:"Audit"`

	LogLevel  string       `env:"BALLAST_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"Least level of the lines on stderr: debug, info, warn or error."`
	LogFormat string       `env:"BALLAST_LOG_FORMAT" enum:"text,json" default:"text" help:"Form of the log on stderr: text or json."`
	Config    settingsFile `placeholder:"FILE" help:"YAML or JSON file with these settings, named as the flags. Flags and BALLAST_… variables win."`
}

// Help is the long form of ballast serve --help.
func (*serveCmd) Help() string {
	return `With no --s3-… setting the registry keeps everything in its data folder and runs an S3 endpoint of its own on it.
Else it uses the bucket that --s3-bucket names, with credentials from the usual AWS places: AWS_… variables, the shared
files, a web identity, the container or the instance. At every start it tries on the store what clients could try, and
refuses to run on one that would let them do harm.

The first start writes a token with all rights to admin.token in the data folder. Ctrl-C ends the service after the
requests in flight; a second one ends it at once.

Beside its own tokens the registry takes those of OpenID Connect issuers: give --oidc-issuer, --oidc-audience and
--oidc-rules, a file such as

  rules:
    - match: {kubernetes.io: {namespace: training, serviceaccount: {name: trainer}}}
      grants: [acme=writer]

The tokens of an issuer that does not answer are unavailable until it does.`
}

// Run serves until ctx ends, which is how the process is told to stop, and returns nil then.
func (c *serveCmd) Run(ctx context.Context, a *app) error {
	log, flush := newServiceLogger(a.stderr, c.LogFormat, c.LogLevel)
	defer flush()
	s := &serving{cmd: c, app: a, log: log, registry: newRegistry()}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.announce(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.log.Info("stopping: requests in flight may end; a second signal ends them") })()
	err := s.serve(ctx)
	s.close()
	s.log.Info("stopped")
	return err
}

// dataFolder is the absolute path of a data folder as it was given, or of the one that is meant when none was.
func dataFolder(env func(string) string, given string) (string, error) {
	dir := given
	if dir == "" {
		dir = ourFolder(env, "XDG_DATA_HOME", filepath.Join(".local", "share"))
	}
	if dir == "" {
		return "", errors.New("no home folder to keep data in: give --data DIR")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data folder %q: %w", given, err)
	}
	return dir, nil
}

// makeDataFolder returns the absolute path of the data folder, which only its owner may enter.
func (c *serveCmd) makeDataFolder(env func(string) string) (string, error) {
	dir, err := dataFolder(env, c.Data)
	if err != nil {
		return "", err
	}
	err = os.MkdirAll(dir, 0o700)
	if err == nil {
		err = tryToWrite(dir)
	}
	if err != nil {
		return "", fmt.Errorf("data folder %s cannot be used: %w; name another one with --data", dir, err)
	}
	return dir, nil
}

func tryToWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
