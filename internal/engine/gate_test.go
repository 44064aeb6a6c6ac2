package engine_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// What is another tenant's answers byte for byte as what is not there, to every reading call.
func TestOthersReadAsAbsent(t *testing.T) {
	r := newRig(t, memStore(t))
	v := r.mustPush(t, writer, "there:1", small("a"))
	must(r.SetAlias(t.Context(), writer, acme, ref("there").Name, must(ballast.ParseAlias("champion")), ref("there:1").Version, nil))
	must(r.Promote(t.Context(), keeper, own("there:1"), ""))
	r.mustPush(t, writer, "there:2", small("b"))
	r.mustRetire(t, keeper, "there:2")
	calls := map[string]func(of string) error{
		"version": func(of string) error { _, err := r.Version(t.Context(), other, ref(of)); return err },
		"files": func(of string) error {
			_, err := r.Files(t.Context(), other, ref(of), engine.ListFiles{URLs: true, Limit: 1})
			return err
		},
		"file":     func(of string) error { _, err := r.File(t.Context(), other, ref(of), "config.json"); return err },
		"children": func(of string) error { _, err := r.Children(t.Context(), other, ref(of), 10, ""); return err },
		"model":    func(of string) error { _, err := r.Model(t.Context(), other, ref(of).Scope, ref(of).Name); return err },
		"versions": func(of string) error {
			_, err := r.Versions(t.Context(), other, ref(of).Scope, ref(of).Name, engine.ListVersions{Limit: 10})
			return err
		},
		"aliases": func(of string) error {
			_, err := r.Aliases(t.Context(), other, ref(of).Scope, ref(of).Name)
			return err
		},
		"production": func(of string) error {
			_, err := r.Production(t.Context(), other, ref(of).Scope, ref(of).Name, 10, "")
			return err
		},
	}
	for _, form := range []string{"there", "there:1", "there:2", "there@champion", "there@production", "there@" + v.Digest.String()} {
		for _, scope := range []string{"", "acme::"} {
			of := scope + form
			for what, call := range calls {
				there := string(must(json.Marshal(wantCode(t, call(of), ballast.CodeNotFound))))
				absent := string(must(json.Marshal(wantCode(t, call(strings.Replace(of, "there", "never", 1)), ballast.CodeNotFound))))
				if strings.ReplaceAll(absent, "never", "there") != there {
					t.Errorf("%s of %s: %s, and of what is not there %s", what, of, there, absent)
				}
			}
		}
	}
	for what, change := range r.changes(t, other, "acme::there:1") {
		there := string(must(json.Marshal(wantCode(t, change(), ballast.CodeNotFound))))
		absent := string(must(json.Marshal(wantCode(t, r.changes(t, other, "acme::never:1")[what](), ballast.CodeNotFound))))
		if strings.ReplaceAll(absent, "never", "there") != there {
			t.Errorf("%s: %s, and of what is not there %s", what, there, absent)
		}
	}
}

// No request is signed for a version whose record is not in the bucket yet, nor for one that is over.
func TestNothingIsSignedBesideTheGate(t *testing.T) {
	m, r := memRig(t, func(o *engine.Options) { o.Limits.CommitWait = 100 * time.Millisecond })
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "m:2", small("b"))
	r.mustRetire(t, keeper, "m:1")
	r.mustDelete(t, keeper, "m:2")
	noRecords(m, false)
	u := must(r.open(t, writer, "m:3"))
	if err := r.sendAll(t, writer, u.ID, small("c")); err != nil {
		t.Fatal(err)
	}
	must(r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: small("c").files()}))
	waitFor(t, "the version is sealed", func() bool {
		v, err := r.Version(t.Context(), writer, ref("m:3"))
		return err == nil && v.Status == ballast.StatusSealed
	})
	signed := m.Calls(objstoretest.OpSign)
	for of, want := range map[string]ballast.Code{"m:1": ballast.CodeRetired, "m:2": ballast.CodeNotFound, "m:3": ballast.CodeBusy} {
		_, err := r.Files(t.Context(), writer, ref(of), engine.ListFiles{URLs: true, Limit: 10})
		wantCode(t, err, want)
		_, err = r.File(t.Context(), writer, ref(of), "config.json")
		wantCode(t, err, want)
	}
	if n := m.Calls(objstoretest.OpSign) - signed; n != 0 {
		t.Errorf("%d requests were signed", n)
	}
	heal(m)
	if v := must(r.commit(t, writer, u.ID, small("c").files(), ballast.Metadata{})); v.Status != ballast.StatusReady {
		t.Errorf("it is %+v", v)
	}
}
