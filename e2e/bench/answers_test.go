package bench_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

// How the answers are measured.
const (
	answerConnections = 64
	answerRound       = time.Second
	answerFiles       = 1000 // of the version that is asked for
)

// BenchmarkAnswers has 64 connections ask `ballast serve`, with authentication and its log on, for the 307 of a file and for
// a version, in turns with a bare handler that writes the same bytes.
func BenchmarkAnswers(b *testing.B) {
	b.Log(machine(), fmt.Sprintf("; %d connections, rounds of %s, the log goes to a file", answerConnections, answerRound))
	r := serve(b, testenv.MinIO(b), here)
	dir := b.TempDir()
	for i := range answerFiles {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("shard-%05d.bin", i)), []byte(fmt.Sprint("weights ", i)), 0o666); err != nil {
			b.Fatal(err)
		}
	}
	r.push(b, dir)
	token := r.token(b)
	const version = "/v1/models/global::m/versions/1"
	var files [][]byte
	for i := range answerFiles {
		files = append(files, request(http.MethodGet, fmt.Sprintf("%s/files/shard-%05d.bin", version, i), token, nil))
	}
	seen := map[string]canned{}
	for path, as := range map[string]string{version + "/files/shard-00000.bin": "/file", version: "/version"} {
		seen[as] = r.answer(b, path, token)
	}
	bare := startEcho(b, seen)
	for name, l := range map[string]struct{ ours, bare loading }{
		"307 of a file": {loading{files, 307}, loading{[][]byte{request(http.MethodGet, "/file", token, nil)}, 307}},
		"version":       {loading{[][]byte{request(http.MethodGet, version, token, nil)}, 200}, loading{[][]byte{request(http.MethodGet, "/version", token, nil)}, 200}},
	} {
		b.Run(name, func(b *testing.B) {
			var t rates
			for b.Loop() {
				t.round(b, r.process, bare, l.ours, l.bare)
			}
			t.report(b)
		})
	}
}

// rates are what two servers did in the same rounds.
type rates struct{ rounds []rate }

type rate struct {
	ours, bare       float64 // answers a second
	oursCPU, bareCPU float64 // µs of the server's processor time an answer
}

func (t *rates) round(b *testing.B, us, bare process, ours, plain loading) {
	b.Helper()
	var r rate
	one := func(p process, l loading, rate, cpu *float64) {
		before, began := p.processorTime(b), time.Now()
		*rate = l.run(b, p.at, answerConnections, answerRound)
		*cpu = float64((p.processorTime(b) - before).Microseconds()) / (*rate * time.Since(began).Seconds())
	}
	if len(t.rounds)%2 == 0 {
		one(us, ours, &r.ours, &r.oursCPU)
		one(bare, plain, &r.bare, &r.bareCPU)
	} else {
		one(bare, plain, &r.bare, &r.bareCPU)
		one(us, ours, &r.ours, &r.oursCPU)
	}
	t.rounds = append(t.rounds, r)
}

// report logs the table, medians with the least and the most.
func (t *rates) report(b *testing.B) {
	b.Helper()
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\n\tmedian\tleast\tmost")
	for _, row := range []struct {
		name, format string
		of           func(rate) float64
	}{
		{"ballast, answers/s", "%.0f", func(r rate) float64 { return r.ours }},
		{"bare, answers/s", "%.0f", func(r rate) float64 { return r.bare }},
		{"ratio", "%.2f", func(r rate) float64 { return r.ours / r.bare }},
		{"ballast, µs of processor an answer", "%.1f", func(r rate) float64 { return r.oursCPU }},
		{"bare, µs of processor an answer", "%.1f", func(r rate) float64 { return r.bareCPU }},
	} {
		var all []float64
		for _, r := range t.rounds {
			all = append(all, row.of(r))
		}
		s := spread(all)
		fmt.Fprintf(w, "%s\t"+row.format+"\t"+row.format+"\t"+row.format+"\n", row.name, s[0], s[1], s[2])
		if row.name == "ratio" {
			b.ReportMetric(s[0], "ratio")
		}
	}
	_ = w.Flush()
	b.Log(out.String(), "load average: ", load())
}

// answer asks once and keeps what was answered, less what every server adds of its own.
func (r *registry) answer(b *testing.B, path, token string) canned {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+r.process.at+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 400 {
		b.Fatalf("%s: %s %s %v", path, res.Status, body, err)
	}
	res.Header.Del("Date")
	return canned{res.StatusCode, res.Header, bytes.Clone(body)}
}

// token is the administrator's.
func (r *registry) token(b *testing.B) string {
	b.Helper()
	text, err := os.ReadFile(r.tokenFile)
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
