package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestHostsMustDiffer(t *testing.T) {
	for _, c := range []struct {
		registry, store string
		refused         bool
	}{
		{"http://localhost:8080", "http://127.0.0.1:9000", false},
		{"http://localhost:8080", "http://localhost:9000", true},
		{"https://models.example", "http://MODELS.example.:9000", true},
		{"https://example.com", "https://s3.example.com", true},
		{"https://models.example.com", "https://s3.example.com", false},
		{"https://s3.example.com", "https://example.com", false},
		{"http://0.0.1:8080", "http://127.0.0.1:9000", false},
		{"http://[::1]:8080", "http://[::1]:9000", true},
		{"localhost:8080", "http://127.0.0.1:9000", true},
		{"http://localhost:8080", "127.0.0.1:9000", true},
		{"http://localhost:8080", "file:///tmp", true},
	} {
		if err := checkHosts(c.registry, c.store); (err != nil) != c.refused {
			t.Errorf("registry %s, store %s: %v", c.registry, c.store, err)
		}
	}
}

// TestReachLineWorks: the line that a refusal shows has what was given, and is one that is not refused.
func TestReachLineWorks(t *testing.T) {
	_, address := thisMachine()
	for args, want := range map[string][]string{
		"--listen 0.0.0.0:8080 --data /srv/models":                   {"--data /srv/models ", "--listen 0.0.0.0:8080", "--s3-listen 0.0.0.0:9000"},
		"--listen 0.0.0.0:8085 --public-url http://box:8085":         {"--public-url http://box:8085", ":9000"},
		"--listen :0 --s3-listen 127.0.0.1:0":                        {":8080 ", "--s3-listen :9000", ":9000"},
		"--listen 192.0.2.7:80 --s3-listen 192.0.2.8:9100":           {"--s3-listen 192.0.2.8:9100", "--s3-public-endpoint http://192.0.2.7:9100"},
		"--listen :80 --public-url http://" + address:                {"--public-url http://" + address},
		"--listen :80 --log-format json --record-key /k --take-over": {"--log-format json", "--record-key /k", "--take-over"},
		"--listen :80 --metrics-listen off --allow-unsafe-store":     {"--metrics-listen off", "--allow-unsafe-store"},
		"--listen :80 --anonymous-read --oidc-issuer https://a.example --oidc-audience b --oidc-audience c --oidc-rules /r --oidc-ca /ca": {
			"--anonymous-read ", "--oidc-issuer https://a.example ", "--oidc-audience b,c ", "--oidc-rules /r ", "--oidc-ca /ca ",
		},
		"--listen :80 --public-url https://registry.example.com/ballast": {"--public-url https://registry.example.com/ballast"},
	} {
		err := parseServe(t, strings.Fields(args)...).checkReach()
		if err == nil {
			t.Errorf("%s: an API that others reach was let stand over a store on loopback", args)
			continue
		}
		_, line, _ := strings.Cut(err.Error(), "  ballast serve ")
		line, _, _ = strings.Cut(line, "\n")
		for _, part := range want {
			if !strings.Contains(line+" ", part) {
				t.Errorf("%s: no %q in %q", args, part, line)
			}
		}
		typed := parseServe(t, strings.Fields(line)...)
		if err := typed.checkReach(); err != nil {
			t.Errorf("%s: line %q: %v", args, line, err)
		}
		if err := checkHosts(typed.PublicURL, typed.S3.PublicEndpoint); err != nil || strings.Contains(line, ":0 --s3-public") {
			t.Errorf("%s: line %q: %v", args, line, err)
		}
	}
	if line := (&serveCmd{Data: "/srv/my models"}).ownLine(); line[len(line)-1] != "'/srv/my models'" {
		t.Errorf("line %q", line)
	}
}

func TestReach(t *testing.T) {
	for _, c := range []struct {
		cmd     serveCmd
		refused bool
	}{
		{serveCmd{}, false},
		{serveCmd{Listen: "127.0.0.1:80"}, false},
		{serveCmd{Listen: "[::1]:80"}, false},
		{serveCmd{Listen: ":80"}, true},
		{serveCmd{Listen: "192.0.2.1:80"}, true},
		{serveCmd{Listen: "80"}, true},
		{serveCmd{Listen: ":80", S3: storeFlags{PublicEndpoint: "http://a"}}, false},
		{serveCmd{Listen: ":80", S3: storeFlags{Bucket: "b"}}, false},
	} {
		if err := c.cmd.checkReach(); (err != nil) != c.refused {
			t.Errorf("%+v: %v", c.cmd, err)
		}
	}
}

func TestStoreFlagsGoTogether(t *testing.T) {
	yes := true
	for _, c := range []struct {
		flags   storeFlags
		refused bool
	}{
		{storeFlags{}, false},
		{storeFlags{Listen: "127.0.0.1:0", PublicEndpoint: "http://a"}, false},
		{storeFlags{Bucket: "b", Prefix: "p", Region: "r", PutProfile: "put", GetProfile: "get", PathStyle: &yes}, false},
		{storeFlags{Endpoint: "http://a"}, true},
		{storeFlags{Bucket: "b", Listen: "127.0.0.1:0"}, true},
		{storeFlags{Prefix: "p"}, true},
		{storeFlags{PutProfile: "p"}, true},
		{storeFlags{PutNarrow: "auto"}, false},
		{storeFlags{PutNarrow: "off"}, false},
		{storeFlags{PutNarrow: "on"}, true},
		{storeFlags{PutRole: "arn:aws:iam::1:role/r"}, true},
		{storeFlags{Bucket: "b", PutNarrow: "on"}, true},
		{storeFlags{Bucket: "b", PutNarrow: "on", PutProfile: "p"}, false},
		{storeFlags{Bucket: "b", PutNarrow: "on", PutRole: "arn:aws:iam::1:role/r"}, false},
		{storeFlags{Bucket: "b", PutNarrow: "off", PutRole: "arn:aws:iam::1:role/r"}, true},
		{storeFlags{PathStyle: &yes}, true},
	} {
		if err := c.flags.check(); (err != nil) != c.refused {
			t.Errorf("%+v: %v", c.flags, err)
		}
	}
}

func TestPathStyleFollowsTheEndpoint(t *testing.T) {
	for args, want := range map[string]bool{
		"--s3-bucket=b": false, "--s3-bucket=b --s3-endpoint=http://a": true,
		"--s3-bucket=b --s3-path-style": true, "--s3-bucket=b --s3-endpoint=http://a --no-s3-path-style": false,
	} {
		c := parseServe(t, strings.Fields(args)...)
		if got := c.S3.config().PathStyle; got != want {
			t.Errorf("%s: path style %v", args, got)
		}
	}
}

// TestWhenUploadsAreNarrowed: what the settings alone decide; on "asked", the store does.
func TestWhenUploadsAreNarrowed(t *testing.T) {
	for args, want := range map[string]string{
		"": "no", "--s3-bucket=b": "no", "--s3-bucket=b --s3-put-profile=p": "no",
		"--s3-bucket=b --s3-endpoint=http://a":                                        "no",
		"--s3-bucket=b --s3-endpoint=http://a --s3-put-profile=p":                     "asked",
		"--s3-bucket=b --s3-endpoint=http://a --s3-put-profile=p --s3-put-narrow=off": "no",
		"--s3-bucket=b --s3-endpoint=http://a --s3-put-profile=p --s3-put-narrow=on":  "yes",
		"--s3-bucket=b --s3-put-profile=p --s3-put-narrow=on":                         "yes",
		"--s3-bucket=b --s3-put-role=arn:aws:iam::1:role/r":                           "yes",
	} {
		f := &parseServe(t, strings.Fields(args)...).S3
		got := map[[2]bool]string{{false, false}: "no", {true, false}: "asked", {true, true}: "yes"}[[2]bool{f.mayNarrow(), f.mustNarrow()}]
		if got != want || f.config().PutNarrow != f.mayNarrow() {
			t.Errorf("%s: %q, want %s", args, got, want)
		}
	}
}

func TestDefaultPortsMove(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if l, err := listenNear(t.Context(), taken.Addr().String(), false); err == nil {
		t.Errorf("took %s a second time", l.Addr())
	}
	l, err := listenNear(t.Context(), taken.Addr().String(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if portOf(l.Addr()) == portOf(taken.Addr()) {
		t.Errorf("moved to %s, which is taken", l.Addr())
	}
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		if l, err := listenNear(t.Context(), bad, true); err == nil {
			t.Errorf("%s: listens on %s", bad, l.Addr())
		}
	}
}

func TestDataFolder(t *testing.T) {
	env := func(vars map[string]string) func(string) string {
		return func(name string) string { return vars[name] }
	}
	for _, c := range []struct {
		vars map[string]string
		want string
	}{
		{map[string]string{"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/ballast"},
		{map[string]string{"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/ballast"},
		{map[string]string{"HOME": "/h"}, "/h/.local/share/ballast"},
		{nil, ""},
	} {
		if got := ourFolder(env(c.vars), "XDG_DATA_HOME", ".local/share"); got != c.want {
			t.Errorf("%v: %q", c.vars, got)
		}
	}
	if dir, err := (&serveCmd{}).makeDataFolder(env(nil)); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("without a home: %q, %v", dir, err)
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := (&serveCmd{Data: dir}).makeDataFolder(os.Getenv); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in it: %v %v", left, err)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c_d.e": "/a/b-c_d.e", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(rm)": "'$(rm)'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// parseServe is the command as kong fills it in.
func parseServe(t *testing.T, args ...string) *serveCmd {
	t.Helper()
	c := &serveCmd{}
	if _, err := kongOf(t, c).Parse(args); err != nil {
		t.Fatal(err)
	}
	return c
}

func kongOf(t *testing.T, c *serveCmd) *kong.Kong {
	t.Helper()
	k, err := kong.New(c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSettingsInOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ballast.yaml")
	text := "# comment\nlisten: file:1\nmetrics-listen: file:2\npublic_url: http://file\ns3-path-style: true\ns3_bucket: from-file\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BALLAST_METRICS_LISTEN", "env:2")
	t.Setenv("BALLAST_PUBLIC_URL", "http://env")
	t.Setenv("BALLAST_S3_REGION", "from-env")
	c := parseServe(t, "--config", file, "--public-url", "http://flag")
	if c.Listen != "file:1" || c.MetricsListen != "env:2" || c.PublicURL != "http://flag" {
		t.Errorf("%+v", c)
	}
	if c.S3.Bucket != "from-file" || c.S3.Region != "from-env" || c.S3.PathStyle == nil || !*c.S3.PathStyle {
		t.Errorf("%+v", c.S3)
	}
}

func TestSettingsFileForms(t *testing.T) {
	for text, works := range map[string]bool{
		`{"listen": "a:1", "allow-unsafe-store": true}`: true,
		"":                      true,
		"listn: a:1":            false,
		"config: other.yaml":    false,
		"help: true":            false,
		"take-over: true":       false,
		"listen: [a, b]":        false,
		"- a":                   false,
		"listen: a\nlisten: b":  false,
		"log-format: xml":       false,
		"allow-unsafe-store: 7": false,
	} {
		file := filepath.Join(t.TempDir(), "settings")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := kongOf(t, &serveCmd{}).Parse([]string{"--config", file}); (err == nil) != works {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := kongOf(t, &serveCmd{}).Parse([]string{"--config", "/nowhere"}); err == nil {
		t.Error("an absent file was let pass")
	}
}

// TestEverySettingHasAVariable: each flag but those that act once has a BALLAST_… variable.
func TestEverySettingHasAVariable(t *testing.T) {
	for _, f := range kongOf(t, &serveCmd{}).Model.Flags {
		once := f.Name == "help" || f.Name == "config" || f.Name == "take-over"
		want := "BALLAST_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if has := len(f.Envs) == 1 && f.Envs[0] == want; has == once {
			t.Errorf("--%s: variables %v", f.Name, f.Envs)
		}
	}
}
