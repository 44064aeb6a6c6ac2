package ballast_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/ballast-registry/ballast"
)

// FuzzStrictKeys holds the look at keys, which trusts that the decoder has taken a document, to the decoder's own tokens.
func FuzzStrictKeys(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":[{"a":{"a":null}},{"a":"\"]}"}],"c":-1.5e3}`, ` { "a" : 1 , "\u0061" : [ true ] } `, `{"\ud800":1,"\ufffd":2}`, `{"ä":1,"ä":2}`,
		`[1,"a\\",{},[],{"":{"":1},"x":0,"x":false}]`, "\t12 ", `"a"`, `{"a":1}x`, "{\"\xff\":1,\"\xfe\":2}", `{"a\"b":1,"a\"b":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		dec := json.NewDecoder(bytes.NewReader(b))
		taken := dec.Decode(&v) == nil
		if _, err := dec.Token(); err != io.EOF {
			taken = false
		}
		tokens := json.NewDecoder(bytes.NewReader(b))
		tokens.UseNumber()
		want := taken && uniqueKeys(t, tokens)
		if err := ballast.StrictUnmarshal(b, &v); (err == nil) != want {
			t.Errorf("%q: %v; want it taken: %v", b, err, want)
		}
	})
}

// uniqueKeys reads one value and reports whether each of its objects has every key once.
func uniqueKeys(t *testing.T, dec *json.Decoder) bool {
	t.Helper()
	token, err := dec.Token()
	if err != nil {
		t.Fatal(err)
	}
	open, isDelim := token.(json.Delim)
	unique, seen := true, map[any]bool{}
	for isDelim && dec.More() {
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			unique = unique && !seen[key]
			seen[key] = true
		}
		unique = uniqueKeys(t, dec) && unique
	}
	if isDelim {
		_, _ = dec.Token() // the closing one
	}
	return unique
}
