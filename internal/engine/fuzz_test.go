package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// FuzzOpenRecord puts bytes under a record's key: as they are, which must never pass unless they are the record, and
// signed, as only the holder of the key can, which must not pass for another place or form.
func FuzzOpenRecord(f *testing.F) {
	key, v := NewRecordKey(bytes.Repeat([]byte{1}, 32)), recordVersion(f)
	path := recordPath(v.Key(), 1)
	genuine, _, err := key.nextRecord(v)
	if err != nil {
		f.Fatal(err)
	}
	var sealed sealedRecord
	if err := json.Unmarshal(genuine, &sealed); err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte(sealed.Body))
	for _, change := range [][2]string{
		{`"schema":1`, `"schema":2`}, {`"kind":"ready"`, `"kind":"lost"`}, {`"number":1`, `"number":2`}, {`"scope":"acme"`, `"scope":"other"`}, {`"number":1`, `"number":1.5`},
		{`"version":"1.0.0-RC.1"`, `"version":""`}, {`"schema":1`, `"schema":1,"more":1`}, {`"name"`, `"NAME"`},
	} {
		f.Add([]byte(strings.Replace(string(sealed.Body), change[0], change[1], 1)))
	}
	f.Add([]byte(`{"key_id":"` + key.ID + `","hmac":"","body":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := key.openRecord(path, v.Key(), 1, b, ""); err == nil {
			var s sealedRecord
			if json.Unmarshal(b, &s) != nil || !bytes.Equal(s.Body, sealed.Body) {
				t.Errorf("%s passes as the record", b)
			}
		} else if !errors.Is(err, errRecord) {
			t.Errorf("refused for another reason: %v", err)
		}
		if !json.Valid(b) {
			return
		}
		signed := encode(sealedRecord{KeyID: key.ID, HMAC: key.mac(path, encode(json.RawMessage(b)), ""), Body: b})
		r, _, err := key.openRecord(path, v.Key(), 1, signed, "")
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Errorf("refused for another reason: %v", err)
			}
			return
		}
		known := []RecordKind{RecordReady, RecordRetired, RecordDeleted, RecordRestored}
		if r.Schema != recordSchema || !slices.Contains(known, r.Kind) || recordPath(ballast.Key{Scope: r.Scope, Name: r.Name, Version: r.Version}, r.Number) != path {
			t.Errorf("%s passes as a record under %s", b, path)
		}
	})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzParseRecordPath: what passes as a record's key is the one under which the registry would write that record.
func FuzzParseRecordPath(f *testing.F) {
	path := recordPath(recordVersion(f).Key(), 1)
	for _, change := range [][2]string{
		{"", ""}, {"00000001", "0000000a"}, {"00000001", "1"}, {"00000001", "00000000"}, {"00000001", "-0000001"}, {"00000001", "100000001"}, {".json", ".jsonx"}, {"/tiny", ""},
		{"1.0.0-rc.1", ".."}, {"llama", "LLAMA"}, {"acme", "other"}, {"versions", "x"}, {"models", "blobs"}, {"llama/", "llama//"},
	} {
		f.Add(strings.Replace(path, change[0], change[1], 1))
	}
	scope := recordVersion(f).Scope
	f.Fuzz(func(t *testing.T, key string) {
		k, n, ok := parseRecordPath(scope, key)
		if ok && (n < 1 || k.Scope != scope || recordPath(k, n) != key || !filepath.IsLocal(key)) {
			t.Errorf("%q passes as record %d of %v", key, n, k)
		}
	})
}

// FuzzCursor: whatever a client sends for a cursor is refused as invalid, or leads to a place of the list.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "acme", "a\x00b", "1.0.0", strings.Repeat("a", 5000)} {
		f.Add(encodeCursor(s))
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := decodeCursor(encodeCursor(s)); err != nil || at != s {
			t.Errorf("the cursor of %q leads to %q, %v", s, at, err)
		}
		at, err := decodeCursor(s)
		if err != nil && ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("refused with %v", err)
		}
		if again, againErr := decodeCursor(encodeCursor(at)); err == nil && (againErr != nil || again != at) {
			t.Errorf("%q leads to %q, whose cursor leads to %q", s, at, again)
		}
	})
}

// FuzzTokenID: only a text with the right checksum is a token, and its id is in it.
func FuzzTokenID(f *testing.F) {
	_, token, err := newToken()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{token, token + "\n", token[:len(token)-1], token + "0", strings.ToUpper(token), "bal_" + strings.Repeat("0", 57), strings.Replace(token, "_", "-", 1), "", "bal_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := tokenID(s)
		if !ok {
			return
		}
		body := s[:len(s)-tokenChecksum]
		if body != tokenPrefix+id+"_"+body[len(tokenPrefix)+tokenIDLen+1:] || len(id) != tokenIDLen || body+checksum(body) != s {
			t.Errorf("%q passes as the token of %q", s, id)
		}
	})
}

// FuzzBlobsRequest: what is accepted as a question about blobs is within the limits of S3 and of one call.
func FuzzBlobsRequest(f *testing.F) {
	sum := ballast.DigestOf([]byte("a"))
	for _, s := range []string{
		`{"digest":"` + sum.String() + `","size":1}`, `{"digest":"` + sum.String() + `","size":5497558138880,"part_size":1}`, `{"digest":"` + ballast.EmptyDigest.String() + `","size":0}`,
		`{"digest":"` + sum.String() + `","size":9,"method":"multipart","part_size":5242880,"parts":[{"number":1,"sha256":"` + sum.Encoded() + `"}]}`,
		`{"digest":"` + sum.String() + `","size":5368709121,"method":"put"}`, `{"digest":"` + sum.String() + `","size":-1}`, `{"digest":"` + sum.String() + `","size":1,"part_size":9223372036854775807}`,
		`{"digest":"` + sum.String() + `","size":1,"parts":[{"number":-9223372036854775808,"sha256":""}]}`,
	} {
		f.Add([]byte(`{"blobs":[` + s + `]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req ballast.BlobsRequest
		if ballast.StrictUnmarshal(b, &req) != nil {
			return
		}
		wants, err := parseWants(req)
		if err != nil {
			if c := ballast.CodeOf(err); c != ballast.CodeInvalid {
				t.Errorf("refused as %s: %v", c, err)
			}
			return
		}
		parts := 0
		for i, w := range wants {
			parts += len(w.Parts)
			switch {
			case w.Digest != req.Blobs[i].Digest || w.Size != req.Blobs[i].Size || w.Size < 0 || w.Size > ballast.MaxFileSize,
				w.Method == ballast.MethodPut && w.Size > ballast.MaxPutSize,
				w.Method == ballast.MethodMultipart && w.PartSize == 0, w.Method != ballast.MethodPut && w.Method != ballast.MethodMultipart,
				w.PartSize != 0 && (w.PartSize < ballast.MinPartSize || w.PartSize > ballast.MaxPartSize || ballast.PartCount(w.Size, w.PartSize) > ballast.MaxParts):
				t.Errorf("%s is accepted as %+v", b, w)
			}
			for _, p := range w.Parts {
				if p.Number < 1 || p.Number > ballast.PartCount(w.Size, w.PartSize) {
					t.Errorf("part %d of %d bytes at %d is accepted", p.Number, w.Size, w.PartSize)
				}
			}
		}
		if len(wants) > ballast.MaxBlobsPerCall || parts > ballast.MaxPartsPerCall {
			t.Errorf("%d blobs and %d parts are accepted in one call", len(wants), parts)
		}
	})
}

// FuzzRecordKeyFile: a key file is read as the key that it holds, or refused without showing what it holds.
func FuzzRecordKeyFile(f *testing.F) {
	good := strings.Repeat("0123456789abcdef", 4)
	for _, s := range []string{good, recordKeyComment + good + "\n", "# a\n\n " + good + "\r\n", good[:62], good + "00", strings.ToUpper(good), "x" + good, "", "#" + good, good + "\n" + good} {
		f.Add([]byte(s))
	}
	file := filepath.Join(f.TempDir(), "key")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := LoadRecordKey(file, true)
		if left, _ := os.ReadFile(file); !bytes.Equal(left, b) {
			t.Fatalf("%q was changed to %q", b, left)
		}
		if err != nil {
			if key.ID != "" || len(err.Error()) > 200+len(file) {
				t.Errorf("%q: refused with %v, and gives %v", b, err, key)
			}
			return
		}
		if len(key.secret) != 32 || key.ID != NewRecordKey(key.secret).ID {
			t.Errorf("%q is the key %v", b, key)
		}
	})
}

// FuzzOwnerMark: bytes in the place of the owner's mark are refused, or are a mark that another index must have made:
// no bytes but its own pass as this index's.
func FuzzOwnerMark(f *testing.F) {
	ours := ownerMark{IndexID: "0123", Epoch: 7}
	for _, s := range []string{`{"index_id":"0123","epoch":7}`, `{"index_id":"0123","epoch":8}`, `{}`, `{"epoch":-1}`, `{"epoch":1e30}`, `null`, ``, `[]`, strings.Repeat(" ", 64<<10) + "{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := objstoretest.NewMem()
		m.Plant(ownerKey, b)
		mark, etag, err := readOwner(t.Context(), m)
		if err != nil {
			return
		}
		if etag == "" || len(b) > maxOwnerBytes {
			t.Errorf("%d bytes pass as a mark, with ETag %q", len(b), etag)
		}
		if mark == ours && !(bytes.Contains(b, []byte("0123")) || bytes.Contains(b, []byte(`\u`))) {
			t.Errorf("%q passes as our mark", b)
		}
	})
}
