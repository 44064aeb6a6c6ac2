package engine

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

func recordVersion(t testing.TB) index.Version {
	name, err := ballast.ParseName("Llama/Tiny")
	if err != nil {
		t.Fatal(err)
	}
	scope, err := ballast.ParseScope("acme")
	if err != nil {
		t.Fatal(err)
	}
	v, err := ballast.ParseVersion("1.0.0-RC.1")
	if err != nil {
		t.Fatal(err)
	}
	at := ballast.At(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	return index.Version{Scope: scope, Name: name, Version: v, Status: ballast.StatusSealed, Digest: ballast.DigestOf([]byte("manifest")), ManifestSize: 8, Size: 5, Files: 1,
		Assurance: ballast.AssuranceStore, CreatedBy: "ci@acme", CreatedAt: at, Metadata: ballast.Metadata{Description: "<a & b>", Config: []byte(`{"x":1.10}`)}}
}

func TestRecordPath(t *testing.T) {
	v := recordVersion(t)
	path := recordPath(v.Key(), 1)
	if want := "tenants/acme/models/llama/tiny/versions/1.0.0-rc.1/00000001.json"; path != want {
		t.Fatalf("path is %s, want %s", path, want)
	}
	k, n, ok := parseRecordPath(v.Scope, path)
	if !ok || n != 1 || k.Name.Fold() != v.Name.Fold() || k.Version.Fold() != v.Version.Fold() {
		t.Fatalf("parsed as %v %d %v", k, n, ok)
	}
	for _, bad := range []string{path + "x", strings.Replace(path, "00000001", "1", 1), strings.Replace(path, "tiny", "Tiny", 1), strings.Replace(path, "acme", "other", 1)} {
		if _, _, ok := parseRecordPath(v.Scope, bad); ok {
			t.Errorf("%s passes as a record", bad)
		}
	}
}

func TestRecordIsBoundToItsPlaceAndKey(t *testing.T) {
	k, v := NewRecordKey(bytes.Repeat([]byte{1}, 32)), recordVersion(t)
	path := recordPath(v.Key(), 1)
	b, mac, err := k.nextRecord(v)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, _ := k.nextRecord(v); !bytes.Equal(again, b) {
		t.Fatal("the same version makes other bytes the second time")
	}
	r, got, err := k.openRecord(path, v.Key(), 1, b, "")
	if err != nil || got != mac {
		t.Fatalf("its own record: mac %s, %v", got, err)
	}
	want := Record{Schema: recordSchema, Kind: RecordReady, Number: 1, Scope: v.Scope, Name: v.Name, Version: v.Version, Digest: v.Digest, ManifestSize: 8,
		Size: 5, Files: 1, Assurance: v.Assurance, Metadata: v.Metadata, CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt, By: v.CreatedBy, At: v.CreatedAt}
	if d := cmp.Diff(want, r, cmp.Comparer(func(a, b ballast.Name) bool { return a == b }), cmp.Comparer(func(a, b ballast.Scope) bool { return a == b }), cmp.Comparer(func(a, b ballast.Version) bool { return a == b })); d != "" {
		t.Fatalf("it reads back differently (-want +got):\n%s", d)
	}
	elsewhere := v.Key()
	elsewhere.Scope = ballast.Global
	stranger := NewRecordKey(bytes.Repeat([]byte{2}, 32))
	for name, open := range map[string]func() error{
		"another path":     func() error { _, _, err := k.openRecord(recordPath(elsewhere, 1), elsewhere, 1, b, ""); return err },
		"another number":   func() error { _, _, err := k.openRecord(recordPath(v.Key(), 2), v.Key(), 2, b, ""); return err },
		"another forebear": func() error { _, _, err := k.openRecord(path, v.Key(), 1, b, mac); return err },
		"another key":      func() error { _, _, err := stranger.openRecord(path, v.Key(), 1, b, ""); return err },
		"a changed body": func() error {
			_, _, err := k.openRecord(path, v.Key(), 1, bytes.Replace(b, []byte(`"files":1`), []byte(`"files":2`), 1), "")
			return err
		},
		"another field": func() error {
			_, _, err := k.openRecord(path, v.Key(), 1, bytes.Replace(b, []byte(`{"key_id"`), []byte(`{"x":1,"key_id"`), 1), "")
			return err
		},
	} {
		if err := open(); !errors.Is(err, errRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordOverItsLimit(t *testing.T) {
	v := recordVersion(t)
	v.Metadata.Description = strings.Repeat("x", maxRecordBytes)
	if _, _, err := NewRecordKey(make([]byte, 32)).nextRecord(v); ballast.CodeOf(err) != ballast.CodeTooLarge {
		t.Fatalf("error is %v", err)
	}
}

func TestTokens(t *testing.T) {
	id, token, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := tokenID(token); !ok || got != id {
		t.Fatalf("%q is not well-formed", token)
	}
	for i := range token {
		other := byte('x')
		if token[i] == 'x' {
			other = 'y'
		}
		if _, ok := tokenID(token[:i] + string(other) + token[i+1:]); ok {
			t.Errorf("a token mistyped at %d passes its checksum", i)
		}
	}
}

// A chain is judged by its kinds in turn, though every link is signed.
func TestIllegalChains(t *testing.T) {
	k := NewRecordKey(bytes.Repeat([]byte{1}, 32))
	for name, tc := range map[string]struct {
		chain []ballast.Status
		want  string
	}{
		"retired":              {[]ballast.Status{ballast.StatusSealed, ballast.StatusRetired}, ""},
		"deleted":              {[]ballast.Status{ballast.StatusSealed, ballast.StatusDeleted}, ""},
		"retired, deleted":     {[]ballast.Status{ballast.StatusSealed, ballast.StatusRetired, ballast.StatusDeleted}, ""},
		"never ready":          {[]ballast.Status{ballast.StatusRetired}, `record 1 says retired after ""`},
		"ready twice":          {[]ballast.Status{ballast.StatusSealed, ballast.StatusSealed}, `record 2 says ready after "ready"`},
		"retired twice":        {[]ballast.Status{ballast.StatusSealed, ballast.StatusRetired, ballast.StatusRetired}, `record 3 says retired after "retired"`},
		"retired once deleted": {[]ballast.Status{ballast.StatusSealed, ballast.StatusDeleted, ballast.StatusRetired}, `record 3 says retired after "deleted"`},
	} {
		v, m, objects := recordVersion(t), objstoretest.NewMem(), []string(nil)
		for n, status := range tc.chain {
			v.Status, v.Records = status, n
			body, mac, err := k.nextRecord(v)
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, recordPath(v.Key(), n+1))
			m.Plant(objects[n], body)
			v.Records, v.RecordMAC = n+1, mac
		}
		c := &checker{bucket: m, key: k}
		c.chain(t.Context(), v, objects)
		found := ""
		if len(c.found) > 0 {
			found = c.found[0].What
		}
		if tc.want == "" && found != "" || !strings.Contains(found, tc.want) {
			t.Errorf("%s: found %q, want %q", name, found, tc.want)
		}
	}
}
