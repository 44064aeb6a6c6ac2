package client

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ballast-registry/ballast"
)

// tree writes files: "path": content; a content of "-> target" makes a link, "dir" a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(target, file))
			continue
		}
		must(t, os.WriteFile(file, []byte(content), 0o644))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func paths(f folder) []string {
	var out []string
	for _, s := range f.sources {
		out = append(out, s.path)
	}
	return out
}

func TestScanFollowsLinksOfAHuggingFaceSnapshot(t *testing.T) {
	root := tree(t, map[string]string{
		"blobs/aaa":                        "weights",
		"blobs/bbb":                        "{}",
		"snapshots/0123/model.safetensors": "-> ../../blobs/aaa",
		"snapshots/0123/onnx/config.json":  "-> ../../../blobs/bbb",
	})
	found, err := scan(filepath.Join(root, "snapshots/0123"), filter{})
	must(t, err)
	if got, want := paths(found), []string{"model.safetensors", "onnx/config.json"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if found.sources[0].size != int64(len("weights")) {
		t.Errorf("size %d is the link's, not the file's", found.sources[0].size)
	}
}

func TestScanFollowsALinkToAFolder(t *testing.T) {
	root := tree(t, map[string]string{"real/a": "1", "model/sub": "-> ../real"})
	found, err := scan(filepath.Join(root, "model"), filter{})
	must(t, err)
	if got := paths(found); !slices.Equal(got, []string{"sub/a"}) {
		t.Errorf("found %q", got)
	}
}

func TestScanSkipsWhatIsNoModelAndSaysSo(t *testing.T) {
	root := tree(t, map[string]string{
		"config.json": "{}", ".git/HEAD": "ref", ".cache/x": "1", "sub/__pycache__/m.pyc": "1", "sub/.DS_Store": "1",
		".ballast-ABC.part": "half", ".gitattributes": "kept", "sub/code.py": "1",
	})
	found, err := scan(root, filter{})
	must(t, err)
	if got, want := paths(found), []string{".gitattributes", "config.json", "sub/code.py"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	slices.Sort(found.skipped)
	if want := []string{".ballast-ABC.part", ".cache", ".git", "sub/.DS_Store", "sub/__pycache__"}; !slices.Equal(found.skipped, want) {
		t.Errorf("skipped %q, want %q", found.skipped, want)
	}
}

func TestScanRefusesByName(t *testing.T) {
	cases := map[string]struct {
		make func(t *testing.T, file string)
		says string
	}{
		"broken":     {func(t *testing.T, file string) { must(t, os.Symlink("nowhere", file)) }, "broken link"},
		"self":       {func(t *testing.T, file string) { must(t, os.Symlink(filepath.Base(file), file)) }, "leads back to itself"},
		"upwards":    {func(t *testing.T, file string) { must(t, os.Symlink("..", file)) }, "folder that it lies in"},
		"pipe":       {func(t *testing.T, file string) { must(t, syscall.Mkfifo(file, 0o600)) }, "a pipe"},
		"device":     {func(t *testing.T, file string) { must(t, os.Symlink("/dev/zero", file)) }, "a device"},
		"socket":     {listenOn, "a socket"},
		"back\\lash": {func(t *testing.T, file string) { must(t, os.WriteFile(file, nil, 0o600)) }, "backslash or a control character; rename it, or leave it out with --exclude"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := tree(t, map[string]string{"sub/ok": "1"})
			c.make(t, filepath.Join(root, "sub", name))
			_, err := scan(root, filter{})
			if ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), strings.ReplaceAll(name, `\`, `\\`)) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v", err)
			}
			if name == "back\\lash" {
				return
			}
			found, err := scan(root, filter{exclude: []string{name}})
			if err != nil || !slices.Equal(paths(found), []string{"sub/ok"}) {
				t.Errorf("left out by a pattern: %q, %v", paths(found), err)
			}
		})
	}
}

func listenOn(t *testing.T, file string) {
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Skip("no unix sockets here:", err)
	}
	t.Cleanup(func() { l.Close() })
}

func TestScanOfOneFile(t *testing.T) {
	root := tree(t, map[string]string{"model.gguf": "GGUF", "other": "1"})
	found, err := scan(filepath.Join(root, "model.gguf"), filter{})
	must(t, err)
	if got := paths(found); !slices.Equal(got, []string{"model.gguf"}) {
		t.Errorf("found %q", got)
	}
}

func TestScanOfNothing(t *testing.T) {
	for _, path := range []string{t.TempDir(), "/does/not/exist"} {
		if _, err := scan(path, filter{}); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFilter(t *testing.T) {
	cases := []struct {
		pattern, path string
		want          bool
	}{
		{"*.safetensors", "model.safetensors", true},
		{"*.safetensors", "sub/model.safetensors", true},
		{"*.safetensors", "model.bin", false},
		{"onnx", "onnx/model.onnx", true},
		{"onnx", "a/onnx/deep/model.onnx", true},
		{"onnx/", "onnx/model.onnx", true},
		{"onnx/*", "onnx/model.onnx", true},
		{"onnx/*", "onnx/deep/model.onnx", true},
		{"onnx/*", "a/onnx/model.onnx", false},
		{"onnx/*.json", "onnx/deep/x.json", false},
		{"config.json", "config.json.bak", false},
	}
	for _, c := range cases {
		f, err := newFilter([]string{c.pattern}, nil)
		must(t, err)
		if got := f.includes(c.path); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.path, got)
		}
	}
	for _, bad := range []string{"", "[", "a/[z-"} {
		if _, err := newFilter(nil, []string{bad}); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
}

func TestAttemptIsRememberedPerRegistryTargetAndFolder(t *testing.T) {
	dir := t.TempDir()
	of := func(registry, target, path string) attempts {
		ref, err := ballast.ParseRef(target)
		must(t, err)
		return newAttempts(dir, registry, ref, path)
	}
	first := of("http://a", "llama:1", "m").current()
	if len(first) < 16 || len(first) > 64 {
		t.Fatalf("attempt %q", first)
	}
	if again := of("http://a", "llama:1", "m").current(); again != first {
		t.Errorf("a repeated push has attempt %q, not %q", again, first)
	}
	for _, other := range []attempts{of("http://b", "llama:1", "m"), of("http://a", "llama:2", "m"), of("http://a", "llama:1", "n")} {
		if other.current() == first {
			t.Errorf("another push shares the attempt")
		}
	}
	of("http://a", "llama:1", "m").forget()
	if of("http://a", "llama:1", "m").current() == first {
		t.Error("a forgotten attempt came back")
	}
}
