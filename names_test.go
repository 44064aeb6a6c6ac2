package ballast_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

// must returns v and ends the test when there is none.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// wantParsed checks a parser on texts that it takes, which must come back as they are, and on texts that it refuses.
func wantParsed[T interface{ String() string }](t *testing.T, parse func(string) (T, error), good, bad []string) {
	t.Helper()
	for _, s := range good {
		if v, err := parse(s); err != nil || v.String() != s {
			t.Errorf("%q: got %q, %v", s, v, err)
		}
	}
	for _, s := range bad {
		if v, err := parse(s); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: got %q, %v; want invalid", s, v, err)
		} else if v.String() != "" && v.String() != "=" {
			t.Errorf("%q: refused, and yet it answers %q", s, v)
		}
	}
}

func TestParseScope(t *testing.T) {
	wantParsed(t, ballast.ParseScope,
		[]string{"global", "a", "0", "acme", "a-b", "a--b", strings.Repeat("a", 63), "3f0c9f0e-8f7a-4a7e-9c33-0f5a6e1b2c3d"},
		[]string{"", "-", "-a", "a-", "A", "Global", "a_b", "a.b", "a/b", "a:b", "a b", "ä", "a\n", strings.Repeat("a", 64),
			"00000000-0000-0000-0000-000000000000"})
}

func TestScopePath(t *testing.T) {
	if got := ballast.Global.Path(); got != "global" {
		t.Error(got)
	}
	if got := must(ballast.ParseScope("acme")).Path(); got != "tenants/acme" {
		t.Error(got)
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero Scope has a path")
		}
	}()
	_ = ballast.Scope{}.Path()
}

func TestParseName(t *testing.T) {
	long := strings.Repeat("x", 96)
	good := []string{"a", "A", "_", "_a", "0", "1.0.0", "llama", "Llama-3.1_8B", "org/model", "a.b/c-d", long, long + "/" + long,
		"git", ".git"[1:] + "s", "a.gitx", "main", "latest", "versions2", "v10"}
	bad := []string{"", "/", "a/", "/a", "a//b", "a/b/c", "-a", ".a", "a/-b", "a/.b", "a--b", "a..b", "x/a--b", "x/a..b", "a.",
		"a-", "x/a.", "x/a-", "a./x", "a-/x", "a.git", "a.GIT", "a.Git/x", "a b", "a:b", "a@b", "ä", "a\n", "a\x00", "a%2Fb",
		long + "x", "a/" + long + "x", "a\\b"}
	reserved := strings.Fields(`versions aliases uploads rollback events tokens admin files children promote retire resolve
		raw blob tree commit revision refs models api datasets spaces inbox staging blobs global v1 v2 healthz readyz metrics
		openapi.yaml production tensors`)
	for _, word := range reserved {
		bad = append(bad, word, strings.ToUpper(word), word+"/a", "a/"+word, "a/"+strings.ToUpper(word[:1])+word[1:])
		good = append(good, word+"_")
	}
	wantParsed(t, ballast.ParseName, good, bad)
}

func TestNameFold(t *testing.T) {
	n := must(ballast.ParseName("Org/Llama-3"))
	if n.Fold() != "org/llama-3" || n.Base() != "Llama-3" || must(ballast.ParseName("X")).Base() != "X" {
		t.Error(n.Fold(), n.Base())
	}
}

func TestParseAlias(t *testing.T) {
	wantParsed(t, ballast.ParseAlias,
		[]string{"a", "champion", "a.b_c-d", "v1", "production2", strings.Repeat("a", 63), strings.Repeat("a", 39), strings.Repeat("a", 41)},
		[]string{"", "A", "1", "1.0.0", "-a", "_a", ".a", "a b", "a/b", "a@b", "a:b", "ä", "a\n", strings.Repeat("a", 64),
			strings.Repeat("a", 40), "latest", "main", "production"})
}

func TestRoles(t *testing.T) {
	wantParsed(t, ballast.ParseRole, []string{"reader", "writer", "maintainer", "admin"},
		[]string{"", "Reader", "owner", "reader ", "admin\n"})
	if !(ballast.NoRole < ballast.Reader && ballast.Reader < ballast.Writer && ballast.Writer < ballast.Maintainer && ballast.Maintainer < ballast.Admin) {
		t.Error("the roles are out of order")
	}
	if got := ballast.Role(99).String() + ballast.Role(-1).String(); got != "" {
		t.Error(got)
	}
}

func TestParseGrant(t *testing.T) {
	wantParsed(t, ballast.ParseGrant, []string{
		"acme=writer", "global=admin", "a-b=reader", "acme::llama-*=writer", "acme::llama/*=maintainer", "acme::llama/t*=reader", "acme::llama/tiny=reader", "global::llama*=writer",
		"acme::versions*=writer", "acme::" + strings.Repeat("a", 96) + "*=writer", // which begins versions-2, and is a name itself
	}, []string{
		"", "acme", "=writer", "acme=", "acme=owner", "ACME=writer", "acme=writer=reader", "acme:writer", " acme=writer", "acme/llama-*=writer", "acme:llama-*=writer",
		"acme::=writer", "acme::*=writer", "acme::-a*=writer", "acme::a--*=writer", "acme::a/b/*=writer", "acme::a-/*=writer", "acme::versions=writer", "acme::versions/*=writer",
		"acme::a**=writer", "acme::a*b=writer", "acme::ä*=writer", "::a*=writer", "acme::llama-*=admin", "acme::llama=admin", "global::llama-*=reader", "acme::" + strings.Repeat("a", 97) + "*=writer",
	})
}

// TestNamesHave: names are told by how they begin, folded.
func TestNamesHave(t *testing.T) {
	parse := func(s string) ballast.Name {
		if s == "" {
			return ballast.Name{}
		}
		return must(ballast.ParseName(s))
	}
	for names, want := range map[string]map[string]bool{
		"LLAMA-*":    {"llama-2": true, "Llama-2/chat": true, "llama": false, "llama2": false, "my/llama-2": false, "": false},
		"llama/*":    {"llama/tiny": true, "LLAMA/Tiny": true, "llama": false, "llama-2/tiny": false},
		"llama/Tiny": {"llama/tiny": true, "Llama/TINY": true, "llama/tiny-2": false, "llama": false, "": false},
		"":           {"llama/tiny": true, "a": true, "": true},
	} {
		var n ballast.Names
		if names != "" {
			n = must(ballast.ParseNames(names))
		}
		for name, has := range want {
			if n.Has(parse(name)) != has {
				t.Errorf("%q has %q: %t", names, name, !has)
			}
		}
	}
	if must(ballast.ParseNames("Llama/*")) != must(ballast.ParseNames("llama/*")) {
		t.Error("the same names are not equal")
	}
}

func TestTimeIsOfFixedWidth(t *testing.T) {
	zone := time.FixedZone("", 3*3600)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), `"2026-11-22T08:00:00.000000Z"`},
		{time.Date(2026, 11, 22, 11, 0, 0, 120_000_999, zone), `"2026-11-22T08:00:00.120000Z"`},
		{time.Time{}, "null"},
	} {
		got := string(must(json.Marshal(ballast.At(c.at))))
		if got != c.want {
			t.Errorf("%v: got %s, want %s", c.at, got, c.want)
		}
		var back ballast.Time
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != ballast.At(c.at) {
			t.Errorf("%s: read back as %v, %v", got, back, err)
		}
	}
	var read ballast.Time
	if err := json.Unmarshal([]byte(`"2026-11-22T11:00:00.1+03:00"`), &read); err != nil || read != ballast.At(time.Date(2026, 11, 22, 8, 0, 0, 100_000_000, time.UTC)) {
		t.Error(read, err)
	}
	for _, bad := range []string{`"yesterday"`, `1`, `{}`, `""`} {
		if json.Unmarshal([]byte(bad), &read) == nil {
			t.Errorf("%s was taken for a time", bad)
		}
	}
}

func TestTimeTextSortsAsTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		micros := rapid.Int64Range(0, 4_102_444_800_000_000)
		a, b := micros.Draw(t, "a"), micros.Draw(t, "b")
		at, bt := string(must(json.Marshal(ballast.At(time.UnixMicro(a))))), string(must(json.Marshal(ballast.At(time.UnixMicro(b)))))
		if (a < b) != (at < bt) {
			t.Fatalf("%d, %d are written %s, %s", a, b, at, bt)
		}
	})
}

func TestTextCodecs(t *testing.T) {
	type all struct {
		Scope   ballast.Scope
		Name    ballast.Name
		Version ballast.Version
		Alias   ballast.Alias
		Role    ballast.Role
		Key     ballast.Key
	}
	in := all{must(ballast.ParseScope("acme")), must(ballast.ParseName("Org/M")), must(ballast.ParseVersion("1.0.0-RC.1")),
		must(ballast.ParseAlias("champion")), ballast.Maintainer, must(ballast.ParseKey("acme::org/m::3"))}
	text := must(json.Marshal(in))
	want := `{"Scope":"acme","Name":"Org/M","Version":"1.0.0-RC.1","Alias":"champion","Role":"maintainer","Key":"acme::org/m::3"}`
	if string(text) != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
	var out all
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("read back as %v, %v", out, err)
	}
	for _, bad := range []string{`{"Scope":"A"}`, `{"Name":"a--b"}`, `{"Version":"v1"}`, `{"Alias":"main"}`, `{"Role":"owner"}`, `{"Key":"m"}`, `{"Name":""}`} {
		if err := ballast.StrictUnmarshal([]byte(bad), new(all)); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
