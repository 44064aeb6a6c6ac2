package faults_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

// Requests that faults are for.
func writes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

func isGet(r *http.Request) bool { return r.Method == http.MethodGet }

// signed tells a client's request from the service's own.
func signed(r *http.Request) bool { return r.URL.Query().Has("X-Amz-Signature") }

func completes(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func isRecord(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/versions/")
}

// says answers in S3's words; the store sees nothing.
func says(status int, code string, header ...string) testenv.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/xml")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>m</Message></Error>`)
		}
	}
}

// shorter passes the answer on without its second half, as if it were whole.
func shorter(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
}

// deniesAbsent answers 403 where the store answers 404, as S3 does to who may not list.
func deniesAbsent(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	if answer.Code == http.StatusNotFound {
		says(http.StatusForbidden, "AccessDenied")(w, r, nil)
		return
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// outage is longer than the fence lets a service rely on its last look at the store.
const outage = 16 * time.Second

// TestOutages: the store does not do what it is asked for a while.
func TestOutages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		match func(*http.Request) bool
		fault testenv.Fault
		codes []ballast.Code
		lasts time.Duration // before anything is tried
	}{
		{"503 with Retry-After", nil, says(503, "SlowDown", "Retry-After", "1"), nil, outage},
		{"503 at first", nil, says(503, "SlowDown", "Retry-After", "1"), nil, 0},
		{"503 without a word", nil, testenv.Answer(503), nil, 0},
		{"reset", nil, testenv.Drop, nil, outage},
		{"answers of writes lost", writes, testenv.DropAnswer, nil, 0},
		{"reads cut", isGet, testenv.CutDownload(10), nil, outage},
		{"reads of clients shortened", func(r *http.Request) bool { return isGet(r) && signed(r) }, shorter, []ballast.Code{ballast.CodeIntegrity}, 0},
		{"reads of the service shortened", func(r *http.Request) bool { return isGet(r) && !signed(r) }, shorter, []ballast.Code{ballast.CodeIntegrity}, outage},
		{"403 for all", nil, says(403, "AccessDenied"), nil, outage},
		{"403 in place of 404", nil, deniesAbsent, nil, 0},
		{"404 of something between", nil, testenv.Answer(404), nil, 0},
		{"404 of something between for long", nil, testenv.Answer(404), nil, outage},
		{"writes refused", writes, says(403, "AccessDenied"), nil, 0},
		{"no space", writes, says(507, "XMinioStorageFull"), nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *testenv.Store) {
				w := newWorld(t, s)
				var hits strikes
				w.front.Add(c.match, -1, hits.of(c.fault))
				time.Sleep(c.lasts)
				if err := w.during(append(c.codes, ballast.CodeUnavailable)...); err != nil {
					t.Error(err)
				}
				w.front.Clear()
				hits.want(t)
				w.after()
			})
		})
	}
}
