package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/s3dev"
)

// storeFlags say which object store to use. With none of them but Listen and PublicEndpoint it is the embedded one.
type storeFlags struct {
	Endpoint       string `env:"ENDPOINT" placeholder:"URL" help:"URL of the store; left out with --s3-bucket, it is AWS."`
	PublicEndpoint string `env:"PUBLIC_ENDPOINT" placeholder:"URL" help:"URL under which clients reach the store (default: --s3-endpoint). Its host name must not be the registry's."`
	Bucket         string `env:"BUCKET" placeholder:"NAME" help:"The bucket. It must exist."`
	Prefix         string `env:"PREFIX" placeholder:"PATH" help:"Put before every key, so that a bucket can hold more than a registry."`
	Region         string `env:"REGION" placeholder:"NAME" help:"Region of the bucket (default: that of the AWS settings, else us-east-1 with --s3-endpoint)."`
	PathStyle      *bool  `env:"PATH_STYLE" negatable:"" help:"Write the bucket in the path of URLs instead of the host name (default: with --s3-endpoint)."`
	PutProfile     string `env:"PUT_PROFILE" placeholder:"NAME" help:"AWS profile that signs uploads: it may write blobs and staging, and read nothing."`
	PutNarrow      string `env:"PUT_NARROW" enum:"auto,on,off" default:"auto" help:"Sign uploads by sessions of the put identity that may each write in one scope alone: on, off, or auto, where STS gives any. STS is asked at AWS_ENDPOINT_URL_STS, else at --s3-endpoint, else at AWS."`
	PutRole        string `env:"PUT_ROLE" placeholder:"ARN" help:"Role that the put identity assumes for these sessions, and which may do what it may; AWS needs one, MinIO none. Given, auto is on."`
	GetProfile     string `env:"GET_PROFILE" placeholder:"NAME" help:"AWS profile that signs downloads: it may read blobs, and nothing else."`
	Listen         string `env:"LISTEN" placeholder:"HOST:PORT" help:"Address of the embedded store (default 127.0.0.1:9000; when that is taken, the next free port)."`
}

// embedded reports whether the store is the embedded one.
func (f *storeFlags) embedded() bool { return f.Endpoint == "" && f.Bucket == "" }

// check refuses settings of which one is meaningless without another.
func (f *storeFlags) check() error {
	if !f.embedded() {
		switch {
		case f.Bucket == "":
			return errors.New("--s3-endpoint needs --s3-bucket")
		case f.PutNarrow == narrowOn && f.PutProfile == "" && f.PutRole == "":
			return errors.New("--s3-put-narrow on needs --s3-put-profile, whose sessions sign uploads, or --s3-put-role")
		case f.PutNarrow == narrowOff && f.PutRole != "":
			return errors.New("--s3-put-role is for sessions, which --s3-put-narrow off turns off: leave one of the two out")
		case f.Listen != "":
			return errors.New("--s3-listen is for the embedded store, which --s3-bucket and --s3-endpoint turn off")
		}
		return nil
	}
	for flag, value := range map[string]string{
		"prefix": f.Prefix, "region": f.Region, "put-profile": f.PutProfile, "get-profile": f.GetProfile, "put-role": f.PutRole,
	} {
		if value != "" {
			return fmt.Errorf("--s3-%s needs --s3-bucket; without it the store is the embedded one", flag)
		}
	}
	if f.PutNarrow == narrowOn {
		return errors.New("--s3-put-narrow on needs --s3-bucket; the embedded store has one identity and makes no sessions of it")
	}
	if f.PathStyle != nil {
		return errors.New("--s3-path-style needs --s3-bucket; without it the store is the embedded one")
	}
	return nil
}

// Values of --s3-put-narrow. Left empty it is auto.
const (
	narrowOn  = "on"
	narrowOff = "off"
)

// mayNarrow reports whether uploads are signed by sessions if there are any, and mustNarrow whether they have to be. Without
// a profile or a role for uploads it is the service's own identity that would be narrowed, which auto does not.
func (f *storeFlags) mayNarrow() bool {
	return f.mustNarrow() || f.PutNarrow != narrowOff && f.PutProfile != "" && f.Endpoint != ""
}

func (f *storeFlags) mustNarrow() bool { return f.PutNarrow == narrowOn || f.PutRole != "" }

// config is the store that the flags name, which is not the embedded one.
func (f *storeFlags) config() objstore.Config {
	cfg := objstore.Config{
		Endpoint: f.Endpoint, PublicEndpoint: f.PublicEndpoint, Bucket: f.Bucket, Prefix: f.Prefix, Region: f.Region,
		PathStyle: f.Endpoint != "", PutNarrow: f.mayNarrow(), PutRole: f.PutRole,
	}
	if f.PathStyle != nil {
		cfg.PathStyle = *f.PathStyle
	}
	if f.PutProfile != "" {
		cfg.Put = &objstore.Identity{Profile: f.PutProfile}
	}
	if f.GetProfile != "" {
		cfg.Get = &objstore.Identity{Profile: f.GetProfile}
	}
	return cfg
}

// startEmbedded starts the store's process and returns how to use it.
func (c *serveCmd) startEmbedded(ctx context.Context, data string, log *slog.Logger) (*s3dev.Server, objstore.Config, error) {
	server, err := s3dev.Start(ctx, s3dev.Options{Data: data, Listen: c.S3.Listen, Args: []string{"s3dev"}, Logger: log})
	if errors.Is(err, s3dev.ErrAddressTaken) {
		return nil, objstore.Config{}, fmt.Errorf("--s3-listen %s: another program listens there; give another port", cmp.Or(c.S3.Listen, s3dev.DefaultListen))
	}
	if err != nil {
		return nil, objstore.Config{}, err
	}
	if c.S3.Listen == "" {
		warnIfMoved(log, "--s3-listen", s3dev.DefaultListen, strings.TrimPrefix(server.Endpoint, "http://"))
	}
	return server, c.embeddedConfig(server), nil
}

// embeddedConfig is how to use the embedded store.
func (c *serveCmd) embeddedConfig(server *s3dev.Server) objstore.Config {
	return objstore.Config{
		Endpoint: server.Endpoint, PublicEndpoint: c.S3.PublicEndpoint, Bucket: server.Bucket, Region: server.Region, PathStyle: true,
		Service: objstore.Identity{Keys: objstore.Keys{ID: server.Keys.ID, Secret: server.Keys.Secret}},
	}
}

// checkReach refuses an API that other machines can reach over a store that they cannot, and names the line to type.
func (c *serveCmd) checkReach() error {
	host, port, err := net.SplitHostPort(c.listen())
	if err != nil {
		return fmt.Errorf("--listen %q: write HOST:PORT", c.Listen)
	}
	if isLoopback(host) || !c.S3.embedded() || c.S3.PublicEndpoint != "" {
		return nil
	}
	return fmt.Errorf("--listen %s lets other machines reach the API, and the files' URLs would send them to this machine's own loopback. Say where they reach the embedded store:\n\n  %s\n\nThe two host names must differ: clients take care by host name where they send their token", c.Listen, strings.Join(c.reachLine(host, port), " "))
}

// reachLine is the command with the settings that it has and those that it lacks, for an API on host and port.
func (c *serveCmd) reachLine(host, port string) []string {
	name, address := thisMachine()
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		address = host
	}
	publicURL := cmp.Or(c.PublicURL, c.TLS.scheme()+"://"+net.JoinHostPort(name, fixedPort(port, defaultListen)))
	storeHost, storePort, err := net.SplitHostPort(c.S3.Listen)
	if err != nil || isLoopback(storeHost) {
		storeHost = host
	}
	storePort = fixedPort(storePort, s3dev.DefaultListen)
	endpoint := "http://" + net.JoinHostPort(address, storePort)
	if checkHosts(publicURL, endpoint) != nil {
		endpoint = "http://" + net.JoinHostPort(name, storePort)
	}
	return append(c.ownLine(), "--listen", c.Listen, "--public-url", shellQuote(publicURL),
		"--s3-listen", net.JoinHostPort(storeHost, storePort), "--s3-public-endpoint", endpoint)
}

// fixedPort is a port for a URL: the standard one where any would do.
func fixedPort(port, standard string) string {
	if port == "" || port == "0" {
		_, port, _ = net.SplitHostPort(standard)
	}
	return port
}

// ownLine is the command with the settings that it has, but for those that reachLine adds.
func (c *serveCmd) ownLine() []string {
	line := append(append([]string{"ballast", "serve"}, c.Limits.line()...), c.snapshotLine()...)
	for _, f := range []struct{ flag, value string }{
		{"--config", string(c.Config)}, {"--data", c.Data}, {"--metrics-listen", c.MetricsListen}, {"--record-key", c.RecordKey},
		{"--tls-cert", c.TLS.Cert}, {"--tls-key", c.TLS.Key},
		{"--oidc-issuer", c.OIDC.Issuer}, {"--oidc-audience", strings.Join(c.OIDC.Audience, ",")}, {"--oidc-rules", c.OIDC.Rules}, {"--oidc-ca", c.OIDC.CA},
		{"--log-format", strings.TrimPrefix(c.LogFormat, "text")},
	} {
		if f.value != "" {
			line = append(line, f.flag, shellQuote(f.value))
		}
	}
	if c.AllowUnsafeStore {
		line = append(line, "--allow-unsafe-store")
	}
	if c.AnonymousRead {
		line = append(line, "--anonymous-read")
	}
	if c.TakeOver {
		line = append(line, "--take-over")
	}
	for _, o := range c.ImportAllow {
		line = append(line, "--import-allow", shellQuote(o.String()))
	}
	return line
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// thisMachine returns a name and an address under which other machines may know this one.
func thisMachine() (name, address string) {
	name, address = "NAME-OF-THIS-MACHINE", "ADDRESS-OF-THIS-MACHINE"
	if host, err := os.Hostname(); err == nil && !isLoopback(host) {
		name = host
	}
	found, _ := net.InterfaceAddrs() // without an answer, the line keeps its placeholder
	for _, a := range found {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return name, n.IP.String()
		}
	}
	return name, address
}

// checkHosts refuses a store whose host name is the registry's or below it. Clients that follow our redirect to such a
// host send it their token: they tell hosts apart by name, not by port, and some trust subdomains.
func checkHosts(registryURL, storeURL string) error {
	registry, err := hostName("--public-url", registryURL)
	if err != nil {
		return err
	}
	store, err := hostName("--s3-public-endpoint", storeURL)
	if err != nil {
		return err
	}
	below := net.ParseIP(store) == nil && strings.HasSuffix(store, "."+registry)
	if store != registry && !below {
		return nil
	}
	return fmt.Errorf("clients would reach the registry at %s and the store at %s: give them host names of which the store's is neither the registry's nor below it (on one machine, localhost and 127.0.0.1). A client that follows our redirect to the same host would send the store its token", registry, store)
}

func hostName(setting, raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", fmt.Errorf("%s %q: write http://HOST:PORT or https://HOST", setting, raw)
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), nil
}
