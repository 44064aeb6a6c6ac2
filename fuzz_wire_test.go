package ballast_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
)

func FuzzTimeJSON(f *testing.F) {
	for _, s := range []string{`"2026-11-22T08:00:00.000000Z"`, `"2026-11-22T08:00:00+01:00"`, `"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59.9999999Z"`, `"0000-01-01T00:00:00+23:59"`, `null`, `1`, `"now"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var at, again ballast.Time
		if json.Unmarshal(b, &at) != nil {
			return
		}
		text, err := json.Marshal(at)
		if err != nil {
			t.Fatalf("%s is read and cannot be written: %v", b, err)
		}
		if err := json.Unmarshal(text, &again); err != nil || !again.Equal(at.Time) || at.Location() != time.UTC {
			t.Errorf("%s is %v, written %s, which is %v, %v", b, at, text, again, err)
		}
	})
}

// FuzzMetadataJSON: metadata that was accepted is within its limits, and stays acceptable and the same when it is read
// back from the form in which it is kept.
func FuzzMetadataJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"task":"ner","tags":["a","b"],"metrics":{"loss":0.5,"f":1e300},"num_parameters":9}`, `{"config":{"a":[1,2,{"b":null}]},"extra":1e400}`,
		`{"extra":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, `{"metrics":{"":1}}`, `{"tags":["a","a"]}`, `{"description":"\u2028<>&\u0000"}`,
		`{"config":"\ud800"}`, `{"task":"cooking"}`, `{"extra":null}`, `{"Task":"ner"}`, `{"metrics":{"a":NaN}}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again ballast.Metadata
		if err := ballast.StrictUnmarshal(b, &m); err != nil {
			wantTyped(t, err)
			return
		}
		if err := m.Check(); err != nil {
			wantTyped(t, err)
			return
		}
		kept := must(json.Marshal(m))
		if len(kept) > ballast.MaxMetadataBytes {
			t.Errorf("%d bytes were accepted", len(kept))
		}
		if err := ballast.StrictUnmarshal(kept, &again); err != nil {
			t.Fatalf("%s cannot be read back: %v", kept, err)
		}
		if err := again.Check(); err != nil || !bytes.Equal(must(json.Marshal(again)), kept) {
			t.Errorf("%s reads back as %s, %v", kept, must(json.Marshal(again)), err)
		}
	})
}

// FuzzWire reads a document as each body of a request and each answer. What is accepted reads back as it was.
func FuzzWire(f *testing.F) {
	for _, s := range []string{
		`{"name":"m","version":"1","attempt":"0123456789abcdef"}`, `{"blobs":[{"digest":"` + someDigest + `","size":4,"method":"put","parts":[{"number":1,"sha256":"` + someDigest[7:] + `"}]}]}`,
		`{"files":[{"path":"a","size":4,"sha256":"` + someDigest[7:] + `"}],"metadata":{"task":"ner"}}`, `{"version":"1"}`, `{"name":"ci","grants":[{"scope":"acme","role":"writer","names":"llama-*"}],"expires_in":60,"expires_at":"2026-11-22T08:00:00Z"}`, `{"overlap":3600}`,
		`{"key":"acme::m::1","scope":"acme","name":"m","version":"1","status":"ready","stage":"none","digest":"` + someDigest + `","size":4,"files":1,"metadata":{},"created_at":"2026-11-22T08:00:00.000000Z","revision":1}`,
		`{"id":"u","scope":"acme","name":"m","status":"failed","error":{"code":"integrity","detail":"d","retry_after":1.5,"holder":{"upload":"u"}}}`,
		`{"models":[{"scope":"acme","name":"m","latest":"1","versions":1}],"cursor":"YQ"}`, `{"files":[{"path":"a","request":{"method":"GET","url":"u","headers":{"a":"b"}},"parts":["x"]}]}`,
		`{"aliases":[{"alias":"champion","version":"1"}]}`, `{"scope":"global","role":"admin"}`, `null`, `{"size":1e3}`, `{"size":-1}`, `{"files":null}`,
	} {
		f.Add([]byte(s))
	}
	kinds := []any{
		ballast.CreateUpload{}, ballast.BlobsRequest{}, ballast.CommitRequest{}, ballast.SetAlias{}, ballast.CreateToken{}, ballast.RotateToken{}, ballast.VersionInfo{}, ballast.Upload{}, ballast.BlobsResponse{},
		ballast.ModelInfo{}, ballast.ModelsPage{}, ballast.VersionsPage{}, ballast.FilesPage{}, ballast.AliasesPage{}, ballast.TokensPage{}, ballast.Whoami{}, ballast.StoreInfo{}, ballast.Error{},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range kinds {
			v, again := reflect.New(reflect.TypeOf(kind)).Interface(), reflect.New(reflect.TypeOf(kind)).Interface()
			if err := ballast.StrictUnmarshal(b, v); err != nil {
				wantTyped(t, err)
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%s is a %T and cannot be written: %v", b, kind, err)
			}
			if err := json.Unmarshal(text, again); err != nil && !holdsZero(text) {
				t.Errorf("%s is a %T, written %s, which is none: %v", b, kind, text, err)
			} else if err == nil && !bytes.Equal(must(json.Marshal(again)), text) {
				t.Errorf("%s is a %T, written %s, then %s", b, kind, text, must(json.Marshal(again)))
			}
		}
	})
}

// holdsZero reports whether a text has the zero value of a name, scope, version, alias or role in it, or no digest: what
// was left out of a document, which handlers refuse.
func holdsZero(text []byte) bool { return bytes.Contains(text, []byte(`""`)) }
