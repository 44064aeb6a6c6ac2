package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// What others wrote comes out as text: escape sequences retitle a terminal, overwrite lines or paste.
func TestOutputDrivesNoTerminal(t *testing.T) {
	evil := "\x1b]0;title\x07\x1b[2Kä\r\u009b31m\u202e\u2066\ttab\x00\x7f"
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	if err := a.pairs("description", evil+"\nsecond line"); err != nil {
		t.Fatal(err)
	}
	if err := a.table([]string{"FILE"}, [][]string{{evil}}); err != nil {
		t.Fatal(err)
	}
	a.report(t.Context(), false, &ballast.Error{Code: ballast.CodeInternal, Detail: evil, RequestID: evil})
	progress, stop := newPlain(&out)
	progress(client.Event{Note: evil})
	progress(client.Event{Phase: client.PhaseDownload, Path: evil, Done: true})
	stop()
	for _, r := range out.String() {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Fatalf("%q is in %q", r, out.String())
		}
	}
	if n := strings.Count(out.String(), `\x1b]0;title\a\x1b[2Kä\r\u009b31m\u202e\u2066\ttab\x00\x7f`); n != 6 {
		t.Errorf("shown %d times in %q", n, out.String())
	}
	if !strings.Contains(out.String(), "second line") {
		t.Errorf("line ends are gone: %q", out.String())
	}
}
