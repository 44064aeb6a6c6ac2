package testenv

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// AnswerWith answers with a status and headers, as pairs of name and value, and body; the server sees nothing.
func AnswerWith(status int, body string, namesAndValues ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(namesAndValues); i += 2 {
			w.Header().Set(namesAndValues[i], namesAndValues[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// SlowDown is how S3 says that it is asked too much.
func SlowDown(w http.ResponseWriter, r *http.Request, next http.Handler) {
	AnswerWith(http.StatusServiceUnavailable, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>", "Retry-After", "1")(w, r, next)
}

// FlipDownload turns a bit of byte number n of the answer's body.
func FlipDownload(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&flipper{ResponseWriter: w, left: n}, r)
	}
}

type flipper struct {
	http.ResponseWriter
	left int64 // bytes before the one to hurt; negative: done
}

// Write implements io.Writer.
func (f *flipper) Write(p []byte) (int, error) {
	if f.left >= 0 && f.left < int64(len(p)) {
		hurt := append([]byte(nil), p...)
		hurt[f.left] ^= 1
		p = hurt
	}
	f.left -= int64(len(p))
	return f.ResponseWriter.Write(p)
}

// Unwrap lets a controller flush.
func (f *flipper) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// StallDownload passes on n bytes of the answer's body, then nothing more until the client hangs up.
func StallDownload(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&staller{ResponseWriter: w, r: r, left: n}, r)
	}
}

type staller struct {
	http.ResponseWriter
	r    *http.Request
	left int64
}

// Write implements io.Writer.
func (s *staller) Write(p []byte) (int, error) {
	if int64(len(p)) <= s.left {
		s.left -= int64(len(p))
		return s.ResponseWriter.Write(p)
	}
	_, _ = s.ResponseWriter.Write(p[:s.left])
	_ = http.NewResponseController(s.ResponseWriter).Flush()
	<-s.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// StallUpload takes n bytes of the request's body, then nothing more for d, and breaks the connection. That the client hangs
// up before does not show: what it has sent already still lies in between.
func StallUpload(n int64, d time.Duration) Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		select {
		case <-r.Context().Done():
		case <-time.After(d):
		}
		panic(http.ErrAbortHandler)
	}
}

// Slow passes a request on so that of its body, and of the answer's, no more than rate bytes come in a second.
func Slow(rate int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Body = &slowBody{r.Body, newPace(r.Context(), rate)}
		next.ServeHTTP(&slowAnswer{w, newPace(r.Context(), rate)}, r)
	}
}

// pace lets bytes pass at a rate, however late those before were.
type pace struct {
	ctx  context.Context
	rate int64 // bytes a second
	free time.Time
}

func newPace(ctx context.Context, rate int64) pace { return pace{ctx, rate, time.Now()} }

// wait returns once n more bytes have taken their time.
func (p *pace) wait(n int) {
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	select {
	case <-p.ctx.Done():
	case <-time.After(time.Until(p.free)):
	}
}

type slowBody struct {
	io.ReadCloser
	pace pace
}

// Read implements io.Reader. It takes a tenth of a second's bytes at a time.
func (b *slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.pace.rate/10+1)])
	b.pace.wait(n)
	return n, err
}

type slowAnswer struct {
	http.ResponseWriter
	pace pace
}

// Write implements io.Writer.
func (a *slowAnswer) Write(p []byte) (int, error) {
	a.pace.wait(len(p))
	return a.ResponseWriter.Write(p)
}

// Unwrap lets a controller flush.
func (a *slowAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// PutOff answers every hundredth request with SlowDown, and notes those that come again before the second is over that it
// asked for. The zero value is ready.
type PutOff struct {
	mu    sync.Mutex
	until map[string]time.Time
	times int
	early []string
}

// Fault is for a Meter, or what else numbers its requests.
func (o *PutOff) Fault(number int64, r *http.Request) Fault {
	what := r.URL.Path + " part " + r.URL.Query().Get("partNumber") + r.Header.Get("Range")
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Now().Before(o.until[what]) {
		o.early = append(o.early, what)
	}
	if number%100 != 50 {
		return nil
	}
	if o.until == nil {
		o.until = map[string]time.Time{}
	}
	o.times, o.until[what] = o.times+1, time.Now().Add(time.Second)
	return SlowDown
}

// Times is how often it did, and what did not wait.
func (o *PutOff) Times() (times int, early []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.times, o.early
}

// Meter counts the bytes of the bodies of answers that pass it, and asks a fault, if there is one for the request, to serve.
type Meter struct {
	Passed   atomic.Int64 // bytes to clients
	Requests atomic.Int64
	// Fault may hurt a request; nil hurts none.
	Fault func(number int64, r *http.Request) Fault
}

// Count is the fault that counts. Add it for all requests that are to be counted.
func (m *Meter) Count(w http.ResponseWriter, r *http.Request, next http.Handler) {
	counted := &metered{w, m}
	if number := m.Requests.Add(1); m.Fault != nil {
		if fault := m.Fault(number, r); fault != nil {
			fault(counted, r, next)
			return
		}
	}
	next.ServeHTTP(counted, r)
}

type metered struct {
	http.ResponseWriter
	m *Meter
}

// Write implements io.Writer.
func (m *metered) Write(p []byte) (int, error) {
	n, err := m.ResponseWriter.Write(p)
	m.m.Passed.Add(int64(n))
	return n, err
}

// Unwrap lets a controller flush.
func (m *metered) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// RangeOf reads the range that a request asks for, the last byte included; all of the object is 0 to -1.
func RangeOf(r *http.Request) (first, last int64) {
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n != 2 {
		return 0, -1
	}
	return first, last
}
