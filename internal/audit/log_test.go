package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	acme = must(ballast.ParseScope("acme"))
	tiny = must(ballast.ParseName("llama/tiny"))
	good = audit.Request{
		Method: "GET", Path: "/v1/models/llama/tiny/versions/latest/files/w", Principal: "3f9c2a71Xy", Name: "ci", Home: acme, Status: 307,
		Remote: "10.0.0.7", ID: "r1", Agent: "ballast/1.0",
	}
)

// served is the record of a file that was signed.
func served() *audit.Record {
	_, rec := audit.Begin(context.Background())
	rec.Asks(ballast.AuditRead)
	rec.File("w")
	rec.Found(acme, "acme::llama/tiny::1")
	rec.Signed(ballast.AuditRead)
	rec.Hands(42)
	return rec
}

// sink is a sink that can refuse, cut and wait.
type sink struct {
	mu    sync.Mutex
	kept  bytes.Buffer
	fail  func(lines []byte) (n int, err error) // nil: keep all
	block chan struct{}                         // nil: do not wait
}

func (s *sink) Write(lines []byte) (int, error) {
	s.mu.Lock()
	block, fail := s.block, s.fail
	s.mu.Unlock()
	if block != nil {
		<-block
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fail == nil {
		return s.kept.Write(lines)
	}
	n, err := fail(lines)
	s.kept.Write(lines[:n])
	if n > 0 && lines[n-1] != '\n' { // as a Folder ends a line that was cut
		s.kept.WriteByte('\n')
	}
	return n, err
}

func (s *sink) Tidy(time.Time) error { return nil }
func (s *sink) Close() error         { return nil }

func (s *sink) set(fail func([]byte) (int, error), block chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.block = fail, block
}

// entries are the whole lines that were kept.
func (s *sink) entries() (all []ballast.AuditEntry, unreadable int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(s.kept.Bytes()) {
		var e ballast.AuditEntry
		if json.Unmarshal(line, &e) != nil {
			unreadable++
			continue
		}
		all = append(all, e)
	}
	return all, unreadable
}

// TestLineIsWhatItsReaderReads: lines are written by hand, and encoding/json reads from them what was to be said.
func TestLineIsWhatItsReaderReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-z"\\ é€\x00-\x1f]{0,20}`), rapid.String().Filter(func(s string) bool { return audit.Redact(s) == s && strings.ToValidUTF8(s, "") == s }))
		r := audit.Request{
			Method: "POST", Path: "/" + text.Draw(t, "path"), Principal: "id", Name: text.Draw(t, "name"), Home: acme, Status: rapid.IntRange(200, 399).Draw(t, "status"),
			Remote: text.Draw(t, "remote"), ID: text.Draw(t, "id"), Agent: text.Draw(t, "agent"),
		}
		if r.Status == 304 {
			r.Status = 200
		}
		want := ballast.AuditEntry{
			Action: ballast.AuditWrite, By: r.Name + "@acme", Principal: "id", Scope: acme, Key: text.Draw(t, "key"), Path: text.Draw(t, "file"), Digest: digest.Digest("sha256:" + strings.Repeat("a", 64)),
			URLs: rapid.IntRange(1, 1000).Draw(t, "urls"), Bytes: rapid.Int64Min(1).Draw(t, "bytes"), Request: "POST " + r.Path, Status: r.Status, Remote: r.Remote, RequestID: r.ID, Agent: r.Agent,
		}
		_, rec := audit.Begin(context.Background())
		rec.Names(acme, tiny)
		if rec.Found(acme, want.Key); want.Key == "" {
			want.Name = tiny
		}
		rec.File(want.Path)
		rec.Blob(want.Digest)
		for range want.URLs {
			rec.Signed(ballast.AuditWrite)
		}
		rec.Hands(want.Bytes)
		s := &sink{}
		at := time.Date(2026, 11, 22, 8, 0, 0, 1000, time.UTC)
		l := audit.New(s, audit.Options{Clock: func() time.Time { return at }})
		l.Write(rec, r)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		want.At = ballast.At(at)
		var got ballast.AuditEntry
		if err := ballast.StrictUnmarshal(s.kept.Bytes(), &got); err != nil {
			t.Fatalf("%v: %q", err, s.kept.Bytes())
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b ballast.Scope) bool { return a == b }), cmp.Comparer(func(a, b ballast.Name) bool { return a == b })); diff != "" {
			t.Fatalf("written (-) and read (+) differ:\n%s", diff)
		}
	})
}

// TestWhatHasALine, and what has none.
func TestWhatHasALine(t *testing.T) {
	empty := func() *audit.Record { _, rec := audit.Begin(context.Background()); return rec }
	asked := func() *audit.Record { rec := empty(); rec.Names(acme, tiny); return rec }
	refused := func(r audit.Request, code ballast.Code) audit.Request {
		r.Code, r.Status = code, code.Status()
		return r
	}
	with := func(method string) audit.Request { r := good; r.Method = method; return r }
	for name, c := range map[string]struct {
		rec  *audit.Record
		r    audit.Request
		want ballast.AuditAction
	}{
		"bytes":                      {served(), good, ballast.AuditRead},
		"bytes refused":              {served(), refused(good, ballast.CodeRetired), ballast.AuditRead},
		"a read of what has no URL":  {empty(), good, ""},
		"HEAD, which has no URL":     {served(), with("HEAD"), ""},
		"no token":                   {empty(), refused(audit.Request{Method: "GET"}, ballast.CodeUnauthenticated), ballast.AuditAuth},
		"HEAD without a token":       {empty(), refused(audit.Request{Method: "HEAD"}, ballast.CodeUnauthenticated), ballast.AuditAuth},
		"a weak role":                {empty(), refused(good, ballast.CodeDenied), ballast.AuditRefused},
		"a quota":                    {empty(), refused(with("POST"), ballast.CodeQuotaExceeded), ballast.AuditRefused},
		"too many":                   {empty(), refused(good, ballast.CodeRateLimited), ballast.AuditRefused},
		"a change of what is others": {empty(), refused(with("DELETE"), ballast.CodeNotFound), ballast.AuditRefused},
		"a read of what is not":      {empty(), refused(good, ballast.CodeNotFound), ""},
		"a read of a version gone":   {asked(), refused(good, ballast.CodeRetired), ballast.AuditRefused},
		"a read of another's":        {asked(), refused(good, ballast.CodeNotFound), ballast.AuditRefused},
		"a malformed change":         {empty(), refused(with("POST"), ballast.CodeInvalid), ""},
		"a change":                   {empty(), with("POST"), ""},
	} {
		s := &sink{}
		l := audit.New(s, audit.Options{})
		l.Write(c.rec, c.r)
		_ = l.Close()
		got, _ := s.entries()
		if c.want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0].Action != c.want {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

// TestSecretsAreLeftOut of every text that a client could put one into.
func TestSecretsAreLeftOut(t *testing.T) {
	token := "bal_0123456789_" + strings.Repeat("s3cret", 8)[:46]
	secrets := []string{token, "hf_" + token, "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "X-Amz-Signature=" + strings.Repeat("ab", 32), "x-amz-security-token%3Dabcdef"}
	for _, secret := range secrets {
		r, s := good, &sink{}
		r.Path, r.Agent = "/v1/models/"+secret, "curl "+secret
		rec := served()
		rec.File(secret)
		l := audit.New(s, audit.Options{})
		l.Write(rec, r)
		_ = l.Close()
		text := s.kept.String()
		for _, hidden := range []string{"s3cret", "c2lnbmF0dXJl", "abab", "abcdef"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s is in %s", secret, text)
			}
		}
		if strings.Count(text, "…") != 3 {
			t.Errorf("not left out where it was: %s", text)
		}
	}
	for _, plain := range []string{"bal_", "a=b", "model/bal_x", "eyJ", "x-amz-date=1"} {
		if audit.Redact(plain) != plain {
			t.Errorf("%q became %q", plain, audit.Redact(plain))
		}
	}
}

// TestNobodyWaitsForTheDisk: while the sink does not return, lines are taken until memory for them is full, then lost and
// counted to the last one.
func TestNobodyWaitsForTheDisk(t *testing.T) {
	s, reg, log := &sink{block: make(chan struct{})}, prometheus.NewRegistry(), &bytes.Buffer{}
	l := audit.New(s, audit.Options{Registerer: reg, Logger: slog.New(slog.NewTextHandler(log, nil)), Every: time.Millisecond})
	const lines = 60_000 // of over 300 bytes
	for range lines {
		l.Write(served(), good)
	}
	close(s.block)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	kept, unreadable := s.entries()
	lost, whole := int64(0), 0
	for _, e := range kept {
		if lost += e.Lost; e.Action == ballast.AuditRead {
			whole++
		}
	}
	counted := int(counter(t, reg, "lost"))
	if unreadable > 0 || counted == 0 || whole+counted != lines || s.kept.Len() > 2*audit.MaxWaiting {
		t.Errorf("%d lines kept, %d lost as the metric has it, %d as the file has it, of %d; %d unreadable", whole, counted, lost, lines, unreadable)
	}
	if !strings.Contains(log.String(), "lost_lines=") {
		t.Errorf("the log says %q", log)
	}
}

func counter(t *testing.T, reg *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families := must(reg.Gather())
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "ballast_audit_lines_total" && m.Label[0].GetValue() == outcome {
				return m.Counter.GetValue()
			}
		}
	}
	t.Fatalf("no counter of %s", outcome)
	return 0
}

// TestLostLinesAreSaidWhereTheyAreMissing, once the disk takes lines again.
func TestLostLinesAreSaidWhereTheyAreMissing(t *testing.T) {
	s, reg := &sink{}, prometheus.NewRegistry()
	l := audit.New(s, audit.Options{Registerer: reg, Every: time.Millisecond})
	until := func(what string, is func() bool) {
		t.Helper()
		for range 5000 {
			if is() {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatal(what + " did not come")
	}
	l.Write(served(), good)
	until("the first line", func() bool { return counter(t, reg, "written") == 1 })
	full := errors.New("no space left")
	s.set(func(lines []byte) (int, error) { return min(10, len(lines)), full }, nil)
	for range 5 {
		l.Write(served(), good)
	}
	until("the loss", func() bool { return counter(t, reg, "lost") == 5 })
	s.set(nil, nil)
	l.Write(served(), good)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	kept, _ := s.entries()
	lost := int64(0)
	for _, e := range kept {
		lost += e.Lost
	}
	last := kept[len(kept)-1]
	if lost != 5 || last.Action != ballast.AuditRead || kept[len(kept)-2].Action != ballast.AuditLost {
		t.Errorf("kept %+v", kept)
	}
}

// TestRefusalsOfNobodyHaveARate: who has no token cannot push out the lines of who has one.
func TestRefusalsOfNobodyHaveARate(t *testing.T) {
	s, reg := &sink{}, prometheus.NewRegistry()
	var now time.Time
	l := audit.New(s, audit.Options{Registerer: reg, Clock: func() time.Time { return now }, Every: time.Hour})
	nobody := audit.Request{Method: "GET", Path: "/v1/models", Status: 401, Code: ballast.CodeUnauthenticated}
	write := func() { _, rec := audit.Begin(context.Background()); l.Write(rec, nobody) }
	for range 10_000 {
		write()
	}
	now = now.Add(2500 * time.Millisecond)
	for range 10 {
		write()
	}
	l.Write(served(), good)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	kept, _ := s.entries()
	if len(kept) != audit.CrowdBurst+3 || kept[audit.CrowdBurst].More != 10_000-audit.CrowdBurst || kept[len(kept)-1].Action != ballast.AuditRead {
		t.Errorf("%d lines; after the pause %+v", len(kept), kept[audit.CrowdBurst:])
	}
	want := "# HELP ballast_audit_lines_total " + linesHelp + "\n# TYPE ballast_audit_lines_total counter\n" +
		"ballast_audit_lines_total{outcome=\"left_out\"} 9908\nballast_audit_lines_total{outcome=\"lost\"} 0\nballast_audit_lines_total{outcome=\"written\"} 103\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

const linesHelp = "Lines of the audit: written, lost because the disk did not keep up or refused them, and left out, which are refusals beyond their rate that the next such line counts."

// BenchmarkWrite is what a line costs the request that it is of.
func BenchmarkWrite(b *testing.B) {
	l := audit.New(audit.Stream{To: nowhere{}}, audit.Options{})
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		l.Write(served(), good)
	}
}

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

// TestLinesAreShortAndSilent: whatever a client writes into a path or a name, a line stays short and holds no token of it.
func TestLinesAreShortAndSilent(t *testing.T) {
	const secret = "bal_0123456789_0123456789012345678901234567890123456789abcdef"
	s := &sink{}
	l := audit.New(s, audit.Options{Every: time.Hour})
	_, rec := audit.Begin(context.Background())
	rec.Asks(ballast.AuditRead)
	rec.Names(acme, must(ballast.ParseName(secret+"/x")))
	rec.File(strings.Repeat("<", 60_000) + `"`)
	refused := good
	refused.Status, refused.Code = 404, ballast.CodeNotFound
	l.Write(rec, refused)
	_, rec = audit.Begin(context.Background())
	rec.Asks(ballast.AuditRead)
	rec.Found(acme, "acme::m::1.0.0-"+strings.ReplaceAll(secret, "_", "_"))
	l.Write(rec, good)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(s.kept.String()) {
		if len(line) > 10_000 || strings.Contains(line, "_01234567890123456789") {
			t.Errorf("%d bytes: %.300s", len(line), line)
		}
	}
	if n := strings.Count(s.kept.String(), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

// TestTimes holds the times of lines to their form.
func TestTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).In(time.FixedZone("", 5400))
		if got, want := string(audit.AppendTime([]byte("x"), at)), "x"+at.UTC().Format(audit.TimeForm); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
