package client_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

const linkSize = ballast.MinPartSize // of files that are pushed in parts

// large publishes one file of n bytes as m, in parts, so that the registry has its chain, or by one PUT, so that it has none.
func (w *world) large(c *client.Client, n int, inParts bool) []byte {
	w.t.Helper()
	content := mib(n>>20+1, 7)[:n]
	o := client.PushOptions{PartSize: ballast.MaxPartSize}
	if inParts {
		o.PartSize = linkSize
	}
	_, err := w.push(c, folder(w.t, map[string][]byte{"a": content}), "m", o)
	w.must(err)
	page, err := c.FilesPage(w.t.Context(), ref(w.t, "m"), client.ListFiles{Parts: true})
	w.must(err)
	if got := len(page.Files[0].Chain); got != map[bool]int{true: (n - 1) / linkSize}[inParts] {
		w.t.Fatalf("the registry has a chain of %d", got)
	}
	return content
}

// A file that goes up whole is pulled in links all the same: the push says what SHA-256 came to on the way, also of a file
// that it has hashed before.
func TestAPutHasAChain(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer", "beside=writer")
	dir := folder(t, map[string][]byte{"a": mib(129, 3)})
	time.Sleep(2100 * time.Millisecond) // what was written just now is not remembered
	for _, to := range []string{"m", "beside::m"} {
		_, err := w.push(c, dir, to, client.PushOptions{PartSize: ballast.MaxPartSize})
		w.must(err)
		page, err := c.FilesPage(t.Context(), ref(t, to), client.ListFiles{Parts: true})
		w.must(err)
		if f := page.Files[0]; len(f.Chain) != 2 || f.LinkSize != ballast.DefaultPartSize {
			t.Errorf("%s: a chain of %d values in links of %d", to, len(f.Chain), f.LinkSize)
		}
	}
}

// watch records the ranges that are asked for.
type watch struct {
	mu     sync.Mutex
	ranges [][2]int64
	testenv.Meter
}

// watch has the store's proxy count downloads and hurt those that fault picks, by their number from 1 and first byte.
func (w *world) watch(fault func(number int64, first int64) testenv.Fault) *watch {
	v := &watch{}
	v.Fault = func(number int64, r *http.Request) testenv.Fault {
		first, last := testenv.RangeOf(r)
		v.mu.Lock()
		v.ranges = append(v.ranges, [2]int64{first, last})
		v.mu.Unlock()
		if fault == nil {
			return nil
		}
		return fault(number, first)
	}
	w.store.Clear()
	w.store.Add(method(http.MethodGet), -1, v.Count)
	return v
}

// notes collects what a person is told.
type notes struct {
	mu   sync.Mutex
	text string
}

func (n *notes) progress(e client.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.Note != "" {
		n.text += e.Note + "\n"
	}
}

// bothLarge runs a test on every store, with a file that has a chain and with one that has none.
func bothLarge(t *testing.T, size int, test func(w *world, c *client.Client, content []byte, chained bool)) {
	for _, chained := range []bool{true, false} {
		t.Run(fmt.Sprintf("chain %t", chained), func(t *testing.T) {
			eachWorld(t, func(w *world) {
				c := w.as("acme=writer")
				test(w, c, w.large(c, size, chained), chained)
			})
		})
	}
}

func (w *world) wantFile(dir string, content []byte) {
	w.t.Helper()
	if got := contents(w.t, dir); len(got) != 1 || !bytes.Equal(got["a"], content) {
		w.t.Fatalf("the folder holds %d files, and %d bytes of %d", len(got), len(got["a"]), len(content))
	}
}

// A file is fetched by ranges in parallel, each byte once.
func TestALargeFileIsFetchedByRangesAtOnce(t *testing.T) {
	bothLarge(t, 40<<20+5, func(w *world, c *client.Client, content []byte, _ bool) {
		v := w.watch(nil)
		dir := w.t.TempDir()
		pulled, err := w.pull(c, "m", dir, client.PullOptions{})
		w.must(err)
		w.wantFile(dir, content)
		if n := int64(len(content)); pulled.Bytes != n || v.Passed.Load() != n || pulled.Resumed != 0 || len(pulled.Damaged) > 0 {
			w.t.Errorf("%d bytes passed; pulled %+v", v.Passed.Load(), pulled)
		}
		if len(v.ranges) < 4 {
			w.t.Errorf("ranges %v", v.ranges)
		}
		slices.SortFunc(v.ranges, func(a, b [2]int64) int { return int(a[0] - b[0]) })
		next := int64(0)
		for _, r := range v.ranges {
			if r[0] != next {
				w.t.Errorf("ranges %v", v.ranges)
				break
			}
			next = r[1] + 1
		}
	})
}

// A range that arrives damaged is noticed, named and fetched again by itself; where there is no chain, all of the file is.
func TestADamagedRangeIsFetchedAgain(t *testing.T) {
	bothLarge(t, 40<<20+5, func(w *world, c *client.Client, content []byte, chained bool) {
		v := w.watch(func(number, _ int64) testenv.Fault {
			if number == 3 {
				return testenv.FlipDownload(70_000)
			}
			return nil
		})
		var told notes
		dir := w.t.TempDir()
		pulled, err := w.pull(c, "m", dir, client.PullOptions{Progress: told.progress})
		w.must(err)
		w.wantFile(dir, content)
		again := int64(len(content))
		if chained {
			again = linkSize
		}
		if got := v.Passed.Load() - int64(len(content)); got != again || pulled.Bytes != v.Passed.Load() {
			w.t.Errorf("%d bytes were fetched again, want %d; pulled %+v", got, again, pulled)
		}
		if len(pulled.Damaged) != 1 || !strings.HasPrefix(pulled.Damaged[0], `"a", bytes `) || !strings.Contains(told.text, pulled.Damaged[0]) {
			w.t.Errorf("told %q, damaged %q", told.text, pulled.Damaged)
		}
	})
}

// What stays damaged never gets a name.
func TestWhatStaysDamagedIsRefused(t *testing.T) {
	bothLarge(t, 12<<20, func(w *world, c *client.Client, content []byte, _ bool) {
		v := w.watch(func(_, first int64) testenv.Fault {
			if first <= 1<<20 {
				return testenv.FlipDownload(1<<20 - first)
			}
			return nil
		})
		dir := w.t.TempDir()
		_, err := w.pull(c, "m", dir, client.PullOptions{})
		wantCode(w.t, err, ballast.CodeIntegrity)
		e := ballast.AsError(err)
		if e.Expected != ballast.DigestOf(content) || e.Actual == "" || e.Actual == e.Expected || !strings.Contains(e.Detail, `"a"`) {
			w.t.Errorf("error %+v", e)
		}
		if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
			w.t.Error("it has got its name")
		}
		if n := v.Passed.Load(); n > 2*int64(len(content)) {
			w.t.Errorf("%d bytes were fetched for a file of %d", n, len(content))
		}
		w.store.Clear()
		_, err = w.pull(c, "m", dir, client.PullOptions{})
		w.must(err)
		w.wantFile(dir, content)
	})
}

// A chain that is wrong costs a little and proves nothing: the right bytes are taken, others are not.
func TestAWrongChainProvesNothing(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	content := w.large(c, 30<<20, true)
	lies := map[string]func(*ballast.FileInfo){
		"another state": func(f *ballast.FileInfo) { f.Chain[2] = strings.Repeat("0", 64) },
		"the first":     func(f *ballast.FileInfo) { f.Chain[0] = strings.Repeat("0", 64) },
		"one less":      func(f *ballast.FileInfo) { f.Chain = f.Chain[1:] },
		"one more":      func(f *ballast.FileInfo) { f.Chain = append(f.Chain, f.Chain[0]) },
		"no hex":        func(f *ballast.FileInfo) { f.Chain[1] = strings.Repeat("x", 64) },
		"too short":     func(f *ballast.FileInfo) { f.Chain[1] = "00" },
		"tiny links":    func(f *ballast.FileInfo) { f.LinkSize = 64 },
		"odd links":     func(f *ballast.FileInfo) { f.LinkSize++ },
		"negative":      func(f *ballast.FileInfo) { f.LinkSize = -64 },
		"huge links":    func(f *ballast.FileInfo) { f.LinkSize = 1 << 62 },
		"of others":     func(f *ballast.FileInfo) { slices.Reverse(f.Chain) },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			w.registry.Clear()
			w.registry.Add(path(http.MethodGet, "/files"), -1, editing(func(p *ballast.FilesPage) {
				for i := range p.Files {
					if len(p.Files[i].Chain) > 0 {
						lie(&p.Files[i])
					}
				}
			}))
			v := w.watch(nil)
			dir := t.TempDir()
			_, err := w.pull(c, "m", dir, client.PullOptions{})
			w.must(err)
			w.wantFile(dir, content)
			if n := v.Passed.Load(); n > 2*int64(len(content)) {
				t.Errorf("%d bytes were fetched for a file of %d", n, len(content))
			}
			w.watch(func(_, first int64) testenv.Fault { return testenv.FlipDownload(0) })
			dir = t.TempDir()
			_, err = w.pull(c, "m", dir, client.PullOptions{})
			wantCode(t, err, ballast.CodeIntegrity)
			if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
				t.Error("other bytes have got the name")
			}
		})
	}
}

// A pull that failed is gone on with: what had landed is not fetched again, and fresh requests are asked for.
func TestAPullThatFailedGoesOn(t *testing.T) {
	bothLarge(t, 60<<20+5, func(w *world, c *client.Client, content []byte, chained bool) {
		v := w.watch(func(number, _ int64) testenv.Fault {
			if number > 3 {
				return testenv.Answer(http.StatusNotImplemented)
			}
			return nil
		})
		dir := w.t.TempDir()
		_, err := w.pull(c, "m", dir, client.PullOptions{Parallel: 2})
		wantCode(w.t, err, ballast.CodeUnavailable)
		if !strings.Contains(err.Error(), "what has arrived is kept") {
			w.t.Errorf("error %v", err)
		}
		first := v.Passed.Load()
		v = w.watch(nil)
		pulled, err := w.pull(c, "m", dir, client.PullOptions{})
		w.must(err)
		w.wantFile(dir, content)
		if pulled.Resumed == 0 || pulled.Resumed > first || pulled.Bytes+pulled.Resumed != int64(len(content)) || pulled.Bytes != v.Passed.Load() || len(pulled.Damaged) > 0 {
			w.t.Errorf("%d bytes passed first, then %d: %+v", first, v.Passed.Load(), pulled)
		}
	})
}

// What an earlier pull left is hashed like all else: where a loss of power kept a journal and not the bytes that it tells
// of, they are fetched again, and nobody blames the store.
func TestWhatWasLeftIsNotBelieved(t *testing.T) {
	bothLarge(t, 60<<20+5, func(w *world, c *client.Client, content []byte, _ bool) {
		w.watch(func(number, _ int64) testenv.Fault {
			if number > 3 {
				return testenv.Answer(http.StatusNotImplemented)
			}
			return nil
		})
		dir := w.t.TempDir()
		_, err := w.pull(c, "m", dir, client.PullOptions{Parallel: 2})
		wantCode(w.t, err, ballast.CodeUnavailable)
		left, err := filepath.Glob(filepath.Join(dir, ".ballast-*.part"))
		if err != nil || len(left) != 1 {
			w.t.Fatalf("%q is left, %v", left, err)
		}
		file, err := os.OpenFile(left[0], os.O_RDWR, 0)
		w.must(err)
		_, err = file.WriteAt(make([]byte, len(content)), 0)
		w.must(err)
		w.must(file.Close())
		w.store.Clear()
		var told notes
		pulled, err := w.pull(c, "m", dir, client.PullOptions{Progress: told.progress})
		w.must(err)
		w.wantFile(dir, content)
		if len(pulled.Damaged) > 0 || !strings.Contains(told.text, "what an earlier pull left is damaged") {
			w.t.Errorf("told %q; pulled %+v", told.text, pulled)
		}
	})
}

// A transfer that stops without an end is broken off and goes on in another; so is one that the store slows down.
func TestAStalledTransferIsTriedAgain(t *testing.T) {
	bothLarge(t, 20<<20, func(w *world, _ *client.Client, content []byte, _ bool) {
		c := w.client(client.Options{Token: w.token("acme=reader"), Stall: 300 * time.Millisecond, Tries: 3})
		faults := map[int64]testenv.Fault{1: testenv.StallDownload(0), 2: testenv.StallDownload(1 << 20), 3: testenv.SlowDown}
		w.watch(func(number, _ int64) testenv.Fault { return faults[number] })
		dir := w.t.TempDir()
		pulled, err := w.pull(c, "m", dir, client.PullOptions{})
		w.must(err)
		w.wantFile(dir, content)
		if pulled.Bytes != int64(len(content)) {
			w.t.Errorf("pulled %+v", pulled)
		}
		w.watch(func(int64, int64) testenv.Fault { return testenv.StallDownload(0) })
		_, err = w.pull(c, "m", w.t.TempDir(), client.PullOptions{})
		wantCode(w.t, err, ballast.CodeUnavailable)
		if !strings.Contains(err.Error(), "no byte moved for 300ms") {
			w.t.Errorf("error %v", err)
		}
	})
}

// Signed requests are asked for as they are needed: when the first file arrives, the last page is not yet there; and a request
// that the store no longer takes is replaced.
func TestRequestsAreSignedJustInTime(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	files := make(map[string][]byte)
	for i := range 500 {
		files[fmt.Sprintf("%03d", i)] = []byte{byte(i), byte(i >> 8)}
	}
	_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
	w.must(err)
	var mu sync.Mutex
	pages, begun, renewed := 0, 0, 0
	w.registry.Add(func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Query().Get("urls") == "true":
			pages++
		case strings.Contains(r.URL.Path, "/files/"):
			renewed++
		}
		return false
	}, -1, nil)
	w.watch(func(number, _ int64) testenv.Fault {
		mu.Lock()
		defer mu.Unlock()
		if number == 1 {
			begun = pages
		}
		if number == 7 {
			return testenv.AnswerWith(http.StatusForbidden, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
		}
		return nil
	})
	dir := t.TempDir()
	pulled, err := w.pull(c, "m", dir, client.PullOptions{Parallel: 4})
	w.must(err)
	if got := contents(t, dir); !maps.EqualFunc(got, files, bytes.Equal) || pulled.Fetched != 500 {
		t.Errorf("the folder holds %d files; pulled %+v", len(got), pulled)
	}
	if begun != 1 || pages != 3 || renewed != 1 {
		t.Errorf("%d pages were asked for when the first file came, %d in the end, and %d single requests", begun, pages, renewed)
	}
}

// A refusal that stays says what it means.
func TestARefusalThatStaysIsExplained(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1")}), "m", client.PushOptions{})
	w.must(err)
	for ahead, want := range map[time.Duration]string{0: "the store's policy forbids it", 90 * time.Minute: "the store's clock is 1h30m", -20 * time.Minute: "behind the registry's"} {
		w.watch(func(int64, int64) testenv.Fault {
			return testenv.AnswerWith(http.StatusForbidden, "<Error><Code>AccessDenied</Code></Error>", "Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		})
		_, err = w.pull(c, "m", t.TempDir(), client.PullOptions{})
		wantCode(t, err, ballast.CodeUnavailable)
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("the store's clock is %s ahead: %v, want %q", ahead, err, want)
		}
	}
}

// An address that cannot be reached is the registry's setting, and said to be.
func TestAWrongHostIsSaidToBeOne(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1")}), "m", client.PushOptions{})
	w.must(err)
	w.registry.Add(path(http.MethodGet, "/files"), -1, editing(func(p *ballast.FilesPage) {
		for _, f := range p.Files {
			if f.Request != nil {
				f.Request.URL = strings.Replace(f.Request.URL, w.store.URL, "http://127.0.0.1:1", 1)
			}
		}
	}))
	hasty := w.client(client.Options{Token: w.token("acme=reader"), Tries: 2})
	_, err = w.pull(hasty, "m", t.TempDir(), client.PullOptions{})
	wantCode(t, err, ballast.CodeUnavailable)
	if !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "--s3-public-endpoint") {
		t.Errorf("error %v", err)
	}
}
