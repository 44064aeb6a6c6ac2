package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/ballast-registry/ballast/client"
)

// progress returns what shows events on stderr, and a function that ends it.
func (a *app) progress(mode string) (client.Progress, func()) {
	if mode == "auto" {
		mode = "none"
		if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			mode = "bars"
		}
	}
	switch mode {
	case "bars":
		return newBars(a.stderr)
	case "plain":
		return newPlain(a.stderr)
	case "json":
		return newLines(a.stderr)
	}
	return nil, func() {}
}

// tally is how far a phase is.
type tally struct {
	Phase     client.Phase `json:"phase"`
	Files     int          `json:"files"`
	FilesDone int          `json:"files_done"`
	Total     int64        `json:"total"` // bytes
	Bytes     int64        `json:"bytes"`
}

func (t *tally) add(e client.Event) {
	t.Files += e.Files
	t.Total += e.Total
	t.Bytes += e.Bytes
	if e.Done {
		t.FilesDone++
	}
}

// bars draws a bar for each phase, and one for each large file that is on its way.
type bars struct {
	mu     sync.Mutex
	out    *mpb.Progress
	phases map[client.Phase]*bar
	files  map[string]*mpb.Bar
}

type bar struct {
	tally
	*mpb.Bar
}

// ownBar is the bytes from which on a file has a bar of its own: below, it would be gone before it was read.
const ownBar = 256 << 20

func newBars(w io.Writer) (client.Progress, func()) {
	b := &bars{out: mpb.New(mpb.WithOutput(w), mpb.WithWidth(80)), phases: make(map[client.Phase]*bar), files: make(map[string]*mpb.Bar)}
	return b.show, b.stop
}

// newBar makes a bar with how much, how fast and how long still.
func (b *bars) newBar(name string, total int64, how ...mpb.BarOption) *mpb.Bar {
	how = append(how,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-9s", name)), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	return b.out.AddBar(total, how...)
}

func (b *bars) show(e client.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Note != "" {
		fmt.Fprintln(b.out, harmless(e.Note))
		return
	}
	p := b.phases[e.Phase]
	if p == nil {
		p = &bar{tally{Phase: e.Phase}, b.newBar(string(e.Phase), 0)}
		b.phases[e.Phase] = p
	}
	p.add(e)
	p.SetTotal(p.Total, false)
	p.SetCurrent(p.Bytes)
	b.showFile(e)
}

func (b *bars) showFile(e client.Event) {
	key := string(e.Phase) + " " + e.Path
	switch file := b.files[key]; {
	case file == nil && e.Size >= ownBar:
		b.files[key] = b.newBar("  "+harmless(path.Base(e.Path)), e.Size, mpb.BarRemoveOnComplete())
	case file == nil:
	case e.Done:
		file.Abort(true)
		delete(b.files, key)
	default:
		file.IncrInt64(e.Bytes)
	}
}

func (b *bars) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, file := range b.files {
		file.Abort(true)
	}
	for _, p := range b.phases {
		if p.Bytes >= p.Total {
			p.SetTotal(p.Total, true)
		} else {
			p.Abort(false)
		}
	}
	b.out.Wait()
}

// plainEvery is how often --progress=plain writes how far a phase is while no file is finished.
const plainEvery = 5 * time.Second

// plain writes a line for every finished file, and now and then one on the bytes.
type plain struct {
	mu     sync.Mutex
	w      io.Writer
	phases map[client.Phase]*pace
}

// pace is a tally and what it was at the last line.
type pace struct {
	tally
	at     time.Time
	before int64 // bytes
}

func newPlain(w io.Writer) (client.Progress, func()) {
	p := &plain{w: w, phases: make(map[client.Phase]*pace)}
	return p.show, func() {}
}

func (p *plain) show(e client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Note != "" {
		fmt.Fprintln(p.w, harmless(e.Note))
		return
	}
	of := p.phases[e.Phase]
	if of == nil {
		of = &pace{at: time.Now()}
		p.phases[e.Phase] = of
	}
	of.add(e)
	switch {
	case e.Done:
		fmt.Fprintln(p.w, e.Phase, harmless(e.Path))
	case e.Total > 0:
		fmt.Fprintf(p.w, "%s: %s, %s\n", e.Phase, count(e.Files, "file"), size(e.Total))
	default:
		if elapsed := time.Since(of.at); elapsed >= plainEvery {
			rate := int64(float64(of.Bytes-of.before) / elapsed.Seconds())
			fmt.Fprintf(p.w, "%s: %s of %s, %s/s%s\n", e.Phase, size(of.Bytes), size(of.Total), size(rate), remaining(of.Total-of.Bytes, rate))
			of.at, of.before = time.Now(), of.Bytes
		}
	}
}

// remaining is how long so many bytes take at a rate.
func remaining(bytes, rate int64) string {
	const month = 30 * 24 * 60 * 60 // who reads longer ones as an estimate? And a Duration ends at 292 years.
	if rate <= 0 || bytes < 0 || bytes/rate > month {
		return ""
	}
	return fmt.Sprintf(", %s left", time.Duration(bytes/rate)*time.Second)
}

// lineEvery is how often --progress=json writes how far a phase is.
const lineEvery = 500 * time.Millisecond

// lines writes JSON, one document a line: notes as they come, tallies now and then and at the end.
type lines struct {
	mu     sync.Mutex
	enc    *json.Encoder
	phases []*tally
	last   time.Time
}

func newLines(w io.Writer) (client.Progress, func()) {
	l := &lines{enc: json.NewEncoder(w)}
	return l.show, l.stop
}

func (l *lines) show(e client.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Note != "" {
		_ = l.enc.Encode(e)
		return
	}
	t := l.phase(e.Phase)
	if t.add(e); time.Since(l.last) >= lineEvery || e.Done && t.FilesDone == t.Files {
		_ = l.enc.Encode(t)
		l.last = time.Now()
	}
}

func (l *lines) phase(name client.Phase) *tally {
	for _, t := range l.phases {
		if t.Phase == name {
			return t
		}
	}
	t := &tally{Phase: name}
	l.phases = append(l.phases, t)
	return t
}

func (l *lines) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.phases {
		_ = l.enc.Encode(t)
	}
}
