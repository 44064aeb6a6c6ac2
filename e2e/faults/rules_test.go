package faults_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast"
)

// inspector holds every refusal of a registry that passes through it to what a client may rely on.
type inspector struct {
	registry string   // host:port
	secrets  []string // what no client may see
	absent   bool     // the test asks for what is not there

	mu    sync.Mutex
	wrong []error
}

// RoundTrip implements http.RoundTripper.
func (i *inspector) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.URL.Host != i.registry || resp.StatusCode < 400 {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if wrong := i.judge(resp.StatusCode, resp.Header, body); wrong != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.wrong = append(i.wrong, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, wrong))
	}
	return resp, nil
}

// verdict is what was wrong so far.
func (i *inspector) verdict() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return errors.Join(i.wrong...)
}

// judge says what is wrong with a refusal. Nothing that these tests ask for is absent, and no fault of a store, a disk or
// a clock is a defect of the service, so both answers are wrong.
func (i *inspector) judge(status int, header http.Header, body []byte) error {
	var e ballast.Error
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(body, &e) != nil {
		return fmt.Errorf("%d without a problem document: %.200s", status, body)
	}
	switch {
	case !slices.Contains(ballast.Codes(), e.Code) || e.Code.Status() != status:
		return fmt.Errorf("%d with the code %q", status, e.Code)
	case e.Code == ballast.CodeInternal:
		return fmt.Errorf("not typed: %s", body)
	case !i.absent && (e.Code == ballast.CodeNotFound || e.Code == ballast.CodeGone || e.Code == ballast.CodeRetired):
		return fmt.Errorf("wrongly absent: %s", body)
	}
	return i.leaks(e.Detail)
}

// leaks says what a text shows that it should not.
func (i *inspector) leaks(text string) error {
	for _, secret := range append([]string{"/blobs/", "tenants/", "X-Amz-", "goroutine ", "index.db", "owner.json"}, i.secrets...) {
		if secret != "" && strings.Contains(text, secret) {
			return fmt.Errorf("leaks %q: %s", secret, text)
		}
	}
	return nil
}

// allow passes success and the codes.
func allow(what string, err error, codes ...ballast.Code) error {
	if err == nil || slices.Contains(codes, ballast.CodeOf(err)) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refused passes the codes, not success.
func refused(what string, err error, codes ...ballast.Code) error {
	if err == nil {
		return fmt.Errorf("%s: did not fail", what)
	}
	return allow(what, err, codes...)
}

// TestRulesCatch is the control of all other tests: a doctored answer is found out.
func TestRulesCatch(t *testing.T) {
	i := &inspector{secrets: []string{"KEYID"}}
	problem := http.Header{"Content-Type": {"application/problem+json"}}
	for _, c := range []struct {
		name   string
		status int
		header http.Header
		body   string
		caught bool
	}{
		{"honest", 503, problem, `{"code":"unavailable","detail":"the object store does not answer; try again"}`, false},
		{"integrity", 422, problem, `{"code":"integrity","detail":"damaged"}`, false},
		{"absent", 404, problem, `{"code":"not_found","detail":"no such version"}`, true},
		{"gone", 410, problem, `{"code":"gone","detail":"x"}`, true},
		{"retired", 410, problem, `{"code":"retired","detail":"x"}`, true},
		{"no document", 503, http.Header{}, `Service Unavailable`, true},
		{"no JSON", 503, problem, `Service Unavailable`, true},
		{"a code of its own", 503, problem, `{"code":"broken","detail":"x"}`, true},
		{"code of another status", 500, problem, `{"code":"unavailable","detail":"x"}`, true},
		{"internal", 500, problem, `{"code":"internal","detail":"x"}`, true},
		{"a key of the bucket", 503, problem, `{"code":"unavailable","detail":"get tenants/acme/blobs/sha256/ab/ab"}`, true},
		{"a signed URL", 503, problem, `{"code":"unavailable","detail":"GET http://s/?X-Amz-Signature=00"}`, true},
		{"a key id", 503, problem, `{"code":"unavailable","detail":"the keys of KEYID"}`, true},
		{"a stack", 503, problem, `{"code":"unavailable","detail":"goroutine 1 [running]"}`, true},
	} {
		if err := i.judge(c.status, c.header, []byte(c.body)); (err != nil) != c.caught {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	unavailable, absent := ballast.Errorf(ballast.CodeUnavailable, "x"), ballast.Errorf(ballast.CodeNotFound, "x")
	for name, err := range map[string]error{
		"success": allow("pull", nil), "typed": allow("pull", unavailable, ballast.CodeUnavailable), "refused": refused("pull", unavailable, ballast.CodeUnavailable),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"absent": allow("pull", absent, ballast.CodeUnavailable), "untyped": allow("pull", errors.New("x"), ballast.CodeUnavailable),
		"no failure": refused("pull", nil, ballast.CodeUnavailable), "absent, not refused": refused("pull", absent, ballast.CodeUnavailable),
	} {
		if err == nil {
			t.Errorf("%s: not caught", name)
		}
	}
}
