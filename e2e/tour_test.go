package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// stop is a part of the README that a reader can type: the shell blocks between the comments <!-- tour:NAME --> and
// <!-- /tour:NAME -->.
type stop struct {
	tour  string
	line  int // of the opening comment
	shell string
}

var tourComment = regexp.MustCompile(`^<!-- (/?)tour:([a-z0-9]+) -->$`)

// stops reads the tours of a Markdown text, in its order.
func stops(markdown string) (all []stop, err error) {
	var in *stop
	fence := ""
	number := 0
	for line := range strings.Lines(markdown) {
		number++
		line = strings.TrimRight(line, "\r\n")
		mark := tourComment.FindStringSubmatch(line)
		switch {
		case fence != "" && line == "```":
			fence = ""
		case fence == "```sh" && in != nil:
			in.shell += line + "\n"
		case fence != "":
		case strings.HasPrefix(line, "```"):
			fence = line
		case mark == nil:
		case mark[1] == "" && in == nil:
			in = &stop{tour: mark[2], line: number}
		case mark[1] == "/" && in != nil && mark[2] == in.tour && in.shell != "":
			all, in = append(all, *in), nil
		default:
			return nil, fmt.Errorf("line %d: %s closes, repeats or holds nothing", number, line)
		}
	}
	if in != nil || fence != "" {
		return nil, errors.New("a tour or a block is not closed")
	}
	return all, nil
}

// script is what a shell is to run for a tour. What is typed in another terminal, the service above all, runs already.
func (s stop) script(registry, store string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "echo '--- tour:%s, line %d' >&2\n", s.tour, s.line)
	for line := range strings.Lines(s.shell) {
		if strings.HasPrefix(line, "ballast serve") || strings.Contains(line, "# (in another terminal)") {
			continue
		}
		b.WriteString(strings.NewReplacer("localhost:8080", registry, "127.0.0.1:9000", store).Replace(line))
	}
	return b.String()
}

// publishes reports whether the tour makes a version.
func (s stop) publishes() bool {
	return strings.Contains(s.shell, "ballast push") || strings.Contains(s.shell, "/v1/uploads")
}

func TestStops(t *testing.T) {
	const text = "# Title\n```sh\nmake install\n```\n" +
		"<!-- tour:cli -->\nStart it:\n```sh\nballast serve &\nballast serve --data x # (in another terminal)\n```\n" +
		"```\noutput\n```\n```sh\nexport BALLAST_URL=http://localhost:8080\n```\n<!-- /tour:cli -->\n" +
		"<!-- tour:aws -->\n```sh\naws --endpoint-url http://127.0.0.1:9000 s3 ls\n```\n<!-- /tour:aws -->\n"
	got := must[[]stop](t)(stops(text))
	var scripts []string
	for _, s := range got {
		scripts = append(scripts, s.script("localhost:1", "127.0.0.1:2"))
	}
	want := []string{
		"echo '--- tour:cli, line 5' >&2\nexport BALLAST_URL=http://localhost:1\n",
		"echo '--- tour:aws, line 18' >&2\naws --endpoint-url http://127.0.0.1:2 s3 ls\n",
	}
	if diff := cmp.Diff(want, scripts); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{
		"<!-- tour:a -->\n```sh\nx\n```\n", "<!-- tour:a -->\n```sh\nx\n", "<!-- /tour:a -->\n", "<!-- tour:a -->\n<!-- /tour:a -->\n",
		"<!-- tour:a -->\n```sh\nx\n```\n<!-- /tour:b -->\n", "<!-- tour:a -->\n<!-- tour:b -->\n",
	} {
		if got, err := stops(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// tourNeeds are the programs of others that each tour of the README takes, beside a shell. The Python tour goes on with
// what the tour before it exported.
var tourNeeds = map[string][]string{
	"cli": nil, "curl": {"curl", "jq", "openssl"}, "aws": {"aws", "jq"}, "python": {"aws", "boto3"}, "catalogue": nil,
}

// TestReadme types the README's tours, in their order and in one shell, beside a `ballast serve` with nothing but its
// defaults, and wants what they publish to be ready.
func TestReadme(t *testing.T) {
	t.Parallel()
	need(t, "bash")
	all := must[[]stop](t)(stops(string(must[[]byte](t)(os.ReadFile("../README.md")))))
	home := t.TempDir()
	r := serveHere(t, home)
	script := "set -euo pipefail\n"
	var typed []stop
	for name := range tourNeeds {
		if !slices.ContainsFunc(all, func(s stop) bool { return s.tour == name }) {
			t.Errorf("the README has no tour:%s", name)
		}
	}
	for _, s := range all {
		if has(t, tourNeeds[s.tour]...) {
			script += s.script(strings.TrimPrefix(r.url, "http://"), r.storeHost(t))
			typed = append(typed, s)
		}
	}
	runShell(t, home, script)
	wantReady(t, r.as(t, "acme=reader"), typed)
}

// serveHere starts a registry as the README does, on free ports.
func serveHere(t *testing.T, home string) *registry {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), "serve", "--listen", "localhost:0", "--s3-listen", "127.0.0.1:0", "--metrics-listen", "off")
	cmd.Env = environment(home)
	return start(t, nil, filepath.Join(home, ".local/share/ballast"), cmd)
}

// storeHost is where the embedded store of the registry answers, as it says itself.
func (r *registry) storeHost(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(r.said, "--endpoint-url http://")
	host, _, ok := strings.Cut(rest, " ")
	if !ok {
		t.Fatalf("no endpoint in %s", r.said)
	}
	return host
}

func runShell(t *testing.T, home, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = t.TempDir(), environment(home)
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(testenv.Binary(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	check(t, err)
}

// wantReady wants each tour that publishes to have made a version of a model that it names, and all versions ready.
func wantReady(t *testing.T, c *client.Client, typed []stop) {
	t.Helper()
	var names []string
	for m, err := range c.Models(t.Context(), client.ListModels{}) {
		check(t, err)
		for v, err := range c.Versions(t.Context(), ballast.Ref{Scope: m.Scope, Name: m.Name}, ballast.VersionFilter{}) {
			check(t, err)
			if v.Status != ballast.StatusReady {
				t.Errorf("%s is %s", v.Key, v.Status)
			}
			names = append(names, m.Name.String())
		}
	}
	for _, s := range typed {
		named := func(name string) bool { return strings.Contains(s.shell, name) }
		if s.publishes() && !slices.ContainsFunc(names, named) {
			t.Errorf("tour:%s published none of %q", s.tour, names)
		}
	}
}
