package ballast_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

func TestClampPartSize(t *testing.T) {
	for _, c := range []struct{ size, proposed, want int64 }{
		{0, 0, ballast.DefaultPartSize},
		{1, 0, ballast.DefaultPartSize},
		{gib, 1, ballast.MinPartSize},
		{gib, -1, ballast.MinPartSize},
		{gib, ballast.MinPartSize, ballast.MinPartSize},
		{gib, 7*mib + 3, 7*mib + 3},
		{gib, 6 * gib, ballast.MaxPartSize},
		{ballast.DefaultPartSize * ballast.MaxParts, 0, ballast.DefaultPartSize},
		{ballast.DefaultPartSize*ballast.MaxParts + 1, 0, ballast.DefaultPartSize + mib},
		{ballast.MaxFileSize, ballast.MinPartSize, 525 * mib},
	} {
		if got := ballast.ClampPartSize(c.size, c.proposed); got != c.want {
			t.Errorf("%d bytes, %d proposed: got %d, want %d", c.size, c.proposed, got, c.want)
		}
	}
}

func TestPartSizesFitTheStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.Int64Range(0, gib), rapid.Int64Range(0, ballast.MaxFileSize)).Draw(t, "size")
		proposed := rapid.OneOf(rapid.Int64Range(0, gib), rapid.Int64()).Draw(t, "proposed")
		part := ballast.ClampPartSize(size, proposed)
		if part < ballast.MinPartSize || part > ballast.MaxPartSize {
			t.Fatalf("part size %d", part)
		}
		if again := ballast.ClampPartSize(size, part); again != part {
			t.Fatalf("a clamped part size %d is clamped to %d", part, again)
		}
		n := ballast.PartCount(size, part)
		if n < 1 || n > ballast.MaxParts {
			t.Fatalf("%d parts", n)
		}
		for _, number := range []int{1, n / 2, n - 1} {
			if got := ballast.PartLength(size, part, number); number >= 1 && number < n && got != part {
				t.Fatalf("part %d of %d has %d bytes", number, n, got)
			}
		}
		last := ballast.PartLength(size, part, n)
		if last < min(size, 1) || last > part || int64(n-1)*part+last != size {
			t.Fatalf("%d bytes in %d parts of %d leave %d for the last", size, n, part, last)
		}
	})
}

func TestStrictUnmarshal(t *testing.T) {
	valid := `{"name":"m","attempt":"a"}`
	for _, text := range []string{valid, " " + valid + "\n", `{"name":"m","version":"1","scope":"acme"}`} {
		if err := ballast.StrictUnmarshal([]byte(text), new(ballast.CreateUpload)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", " ", "{", "]", `{"nam":"m"}`, `{"name":"m","x":1}`, valid + valid, valid + "x", valid + "]", valid + "}", valid + " null",
		`{"Name":"m"}`, `{"name":"m","NAME":"n"}`, `{"name":"m","name":"m"}`, `{"name":"m","n\u0061me":"n"}`,
		`{"name":1}`, `{"name":"a--b"}`, `{"version":"v1"}`, `[]`, `"m"`, valid + "\x00", strings.Repeat("[", 20_000)} {
		if err := ballast.StrictUnmarshal([]byte(text), new(ballast.CreateUpload)); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%.40q: got %v, want invalid", text, err)
		}
	}
	err := ballast.StrictUnmarshal([]byte(`{"name":"m","colour":1}`), new(ballast.CreateUpload))
	if !strings.Contains(err.Error(), "colour") {
		t.Errorf("%v does not name the field", err)
	}
	err = ballast.StrictUnmarshal([]byte(`{"files":[{"path":"a","size":1,"sha256":"`+someDigest[7:]+`","mode":7}]}`), new(ballast.CommitRequest))
	if ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), "mode") {
		t.Errorf("an unknown field of a file: %v", err)
	}
}

// TestStrictUnmarshalLooksAtEveryObject: fields by their exact names wherever the form is known, each key once anywhere.
func TestStrictUnmarshalLooksAtEveryObject(t *testing.T) {
	for text, want := range map[string]string{
		`{"files":[{"path":"a","size":1,"sha256":"` + someDigest[7:] + `"}],"metadata":{"metrics":{"a":1,"A":2},"config":{"A":1,"a":[{"x":1},{"x":2}]}}}`: "",
		`{"files":[{"path":"a","size":1,"sha256":"` + someDigest[7:] + `","SIZE":2}]}`:                                                                    "SIZE",
		`{"files":[{"path":"a","path":"b","size":1,"sha256":"` + someDigest[7:] + `"}]}`:                                                                  "path",
		`{"metadata":{"Task":"ner"}}`:                   "Task",
		`{"metadata":{"metrics":{"a":1,"a":2}}}`:        "twice",
		`{"metadata":{"config":[{"a":{"b":1,"b":1}}]}}`: "twice",
		`{"metadata":{"extra":{"a":1,"\u0061":1}}}`:     "twice",
		`null`: "",
	} {
		if err := ballast.StrictUnmarshal([]byte(text), new(ballast.CommitRequest)); (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || ballast.CodeOf(err) != ballast.CodeInvalid) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestFileOnTheWire(t *testing.T) {
	f := ballast.File{Path: "a/b", Size: 4, Digest: someDigest}
	text := string(must(json.Marshal(f)))
	if want := `{"path":"a/b","size":4,"sha256":"` + someDigest[7:] + `"}`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var back ballast.File
	if err := json.Unmarshal([]byte(text), &back); err != nil || back != f {
		t.Error(back, err)
	}
	for _, bad := range []string{`{}`, `null`, `{"path":"a","size":4,"sha256":"` + someDigest + `"}`, `{"path":"a","size":4.5,"sha256":"` + someDigest[7:] + `"}`,
		`{"path":"a","size":"4","sha256":"` + someDigest[7:] + `"}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken for a file", bad)
		}
	}
}

func TestUploadStatusSettled(t *testing.T) {
	for status, settled := range map[ballast.UploadStatus]bool{ballast.UploadPending: false, ballast.UploadVerifying: false,
		ballast.UploadDone: true, ballast.UploadFailed: true, ballast.UploadExpired: true, ballast.UploadAborted: true} {
		if status.Settled() != settled {
			t.Errorf("%s: settled is %t", status, !settled)
		}
	}
}
