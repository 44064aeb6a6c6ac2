package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
)

// teller is an STS: it numbers its sessions, and remembers what it was asked.
type teller struct {
	longest time.Duration // what is over it is refused, as AWS refuses what a role does not allow
	fail    bool
	wait    time.Duration

	mu    sync.Mutex
	asked []url.Values
}

func (s *teller) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(s.wait):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, form)
	var seconds int
	_, _ = fmt.Sscan(form.Get("DurationSeconds"), &seconds)
	life := time.Duration(seconds) * time.Second
	status, answer := 200, fmt.Sprintf(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>SESSION%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t%d</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		len(s.asked), len(s.asked), time.Now().Add(life).UTC().Format(time.RFC3339))
	switch {
	case s.fail:
		status, answer = 403, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`
	case life > s.longest:
		status, answer = 400, `<ErrorResponse><Error><Code>ValidationError</Code><Message>The requested DurationSeconds exceeds the MaxSessionDuration set for this role.</Message></Error></ErrorResponse>`
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func (s *teller) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func narrowed(t *testing.T, sts *teller, failed func(string, error)) *S3 {
	t.Helper()
	if sts.longest == 0 {
		sts.longest = 12 * time.Hour
	}
	s, err := Open(t.Context(), Config{
		Endpoint: "http://store", Bucket: "models", Prefix: "pre", PathStyle: true, HTTPClient: &http.Client{Transport: sts},
		Service: Identity{Keys: Keys{ID: "SERVICE", Secret: "s"}}, Put: &Identity{Keys: Keys{ID: "PUT", Secret: "s"}},
		PutNarrow: true, SessionFailed: failed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed returns whose key signed a PUT into a scope's folder, and how long it lives.
func signed(t *testing.T, s *S3, folder string) (key string, life time.Duration, err error) {
	t.Helper()
	req, err := s.SignPut(t.Context(), folder+"/blobs/k", ballast.EmptyDigest, 0, time.Hour)
	if err != nil {
		return "", 0, err
	}
	u, err := url.Parse(req.URL)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ = strings.Cut(u.Query().Get("X-Amz-Credential"), "/")
	return key, time.Until(req.ExpiresAt.Time), nil
}

// TestOneSessionForAScope: whoever signs at once waits for one session, each scope has its own, and its policy names that
// scope alone.
func TestOneSessionForAScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &teller{wait: time.Second}
		s := narrowed(t, sts, nil)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				if key, _, err := signed(t, s, "tenants/acme"); err != nil || key != "SESSION1" {
					t.Errorf("signed by %s: %v", key, err)
				}
			})
		}
		all.Wait()
		if sts.calls() != 1 {
			t.Fatalf("%d calls for 64 signatures", sts.calls())
		}
		for folder, want := range map[string]string{"tenants/globex": "SESSION2", "tenants/acme": "SESSION1"} {
			if key, _, err := signed(t, s, folder); err != nil || key != want {
				t.Errorf("%s signed by %s: %v", folder, key, err)
			}
		}
		if _, err := s.SignPart(t.Context(), "global/blobs/k", "u", 1, ballast.EmptyDigest, 1, time.Hour); err != nil {
			t.Error(err)
		}
		for i, folder := range []string{"tenants/acme", "tenants/globex", "global"} {
			at := "arn:aws:s3:::models/pre/" + folder
			want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["` + at + `/blobs/*","` + at + `/staging/*"]}]}`
			if got := sts.asked[i].Get("Policy"); got != want {
				t.Errorf("policy %s, want %s", got, want)
			}
		}
		if get, err := s.SignGet(t.Context(), "tenants/acme/blobs/k", "", time.Hour); err != nil || !strings.Contains(get.URL, "SERVICE") {
			t.Errorf("a GET is signed as %s: %v", get.URL, err)
		}
	})
}

// TestSessionsOutliveWhatTheySign: a session signs for a quarter of an hour, and has an hour left at the end of it; where a
// role allows less, requests live for as long as it does.
func TestSessionsOutliveWhatTheySign(t *testing.T) {
	for longest, least := range map[time.Duration]time.Duration{
		12 * time.Hour: time.Hour, time.Hour: 45 * time.Minute, time.Hour + sessionAge: time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			sts := &teller{longest: longest}
			s := narrowed(t, sts, nil)
			used := map[string]bool{}
			for range 4 * 60 {
				key, life, err := signed(t, s, "global")
				if err != nil || life < least || life > time.Hour {
					t.Fatalf("sessions of %s: signed by %s for %s: %v", longest, key, life, err)
				}
				used[key] = true
				time.Sleep(time.Minute)
			}
			if len(used) != 16 {
				t.Errorf("sessions of %s: %d in four hours", longest, len(used))
			}
			if got, want := sts.calls(), map[bool]int{true: 17, false: 16}[longest < sessionLife]; got != want {
				t.Errorf("sessions of %s: %d calls, want %d", longest, got, want)
			}
		})
	}
}

// TestSTSOutOfOrder: the last session goes on while it lives, then nothing signs; the identity itself never does.
func TestSTSOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts, told := &teller{}, 0
		s := narrowed(t, sts, func(folder string, err error) {
			if told++; folder != "tenants/acme" && folder != "tenants/new" || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("told of %s: %v", folder, err)
			}
		})
		if _, _, err := signed(t, s, "tenants/acme"); err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(sessionLife)
		time.Sleep(sessionAge)
		sts.fail = true
		for range 600 {
			if key, life, err := signed(t, s, "tenants/acme"); err != nil || key != "SESSION1" || life > time.Until(end) {
				t.Fatalf("signed by %s for %s: %v", key, life, err)
			}
			time.Sleep(time.Second)
		}
		if told != 10 || sts.calls() != 1+10 {
			t.Errorf("%d calls in ten minutes, told %d times", sts.calls()-1, told)
		}
		if _, _, err := signed(t, s, "tenants/new"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a scope without a session: %v", err)
		}
		time.Sleep(time.Hour)
		if key, _, err := signed(t, s, "tenants/acme"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("after its end: signed by %s, %v", key, err)
		}
		sts.fail = false
		if key, _, err := signed(t, s, "tenants/acme"); err != nil || !strings.HasPrefix(key, "SESSION") {
			t.Errorf("when STS is back: signed by %s, %v", key, err)
		}
	})
}

// TestWhoeverGivesUpTakesNobodyAlong: the call to STS is everybody's.
func TestWhoeverGivesUpTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sts := &teller{wait: 5 * time.Second}
		s := narrowed(t, sts, nil)
		var all sync.WaitGroup
		all.Go(func() {
			time.Sleep(time.Second)
			if key, _, err := signed(t, s, "global"); err != nil || key != "SESSION1" {
				t.Errorf("signed by %s: %v", key, err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := s.SignPut(ctx, "global/blobs/k", ballast.EmptyDigest, 0, time.Hour); !errors.Is(err, ErrUnavailable) {
			t.Errorf("who gave up: %v", err)
		}
		all.Wait()
		if sts.calls() != 1 {
			t.Errorf("%d calls", sts.calls())
		}
		sts.wait = time.Hour
		began := time.Now()
		if _, _, err := signed(t, s, "tenants/slow"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("an STS that hangs: %v", err)
		}
		if took := time.Since(began); took != askLimit {
			t.Errorf("it took %s", took)
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	s := narrowed(t, &teller{}, nil)
	for i := range maxSessions + 50 {
		if _, _, err := signed(t, s, fmt.Sprintf("tenants/t%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.put.(*sessions).held.Cost(); n != maxSessions {
		t.Errorf("%d sessions are kept", n)
	}
}

// TestNoSessionOutsideOfAScope: what is no scope's cannot be signed for.
func TestNoSessionOutsideOfAScope(t *testing.T) {
	sts := &teller{}
	s := narrowed(t, sts, nil)
	for _, key := range []string{"index/owner.json", "k", "globally/blobs/k", "tenants", "tenants/global/blobs/k", "tenants/A/blobs/k", "tenants/*/blobs/k", "tenants/a*/blobs/k", "x/tenants/acme/blobs/k"} {
		if _, err := s.SignPut(t.Context(), key, ballast.EmptyDigest, 0, time.Hour); err == nil {
			t.Errorf("%s was signed for", key)
		}
	}
	if sts.calls() != 0 {
		t.Errorf("%d sessions", sts.calls())
	}
}

// TestPolicyFits: AWS allows 2,048 characters. Any prefix that is accepted leaves room for the longest tenant, and one that a
// policy cannot name is refused before anything is sent.
func TestPolicyFits(t *testing.T) {
	cfg := Config{
		Endpoint: "http://store", Bucket: strings.Repeat("b", 63), Service: Identity{Keys: Keys{ID: "i", Secret: "s"}},
		PutNarrow: true, PutRole: "arn:aws-us-gov:iam::123456789012:role/put",
	}
	longest := sort.Search(maxKey, func(size int) bool { // the first that is refused is one longer
		cfg.Prefix = strings.Repeat("p", size+1)
		s, err := Open(t.Context(), cfg)
		if err != nil {
			if !errors.Is(err, ErrNoPolicy) {
				t.Fatal(err)
			}
			return true
		}
		policy := s.put.(*sessions).policy("tenants/" + strings.Repeat("t", 63))
		if len(policy) > 2048 || !strings.Contains(policy, "arn:aws-us-gov:s3:::") {
			t.Errorf("prefix of %d: a policy of %d characters: %s", size+1, len(policy), policy)
		}
		return false
	})
	if longest < 800 || longest > 900 {
		t.Errorf("the longest prefix has %d characters", longest)
	}
	for prefix, fits := range map[string]bool{"a/b c-_.!()'+,;=@&<>": true, "a*": false, "a?": false, "a$b": false, "ä": false, `a"b`: false, `a\b`: false} {
		cfg.Prefix = prefix
		if _, err := Open(t.Context(), cfg); errors.Is(err, ErrNoPolicy) == fits || fits && err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for _, role := range []string{"put", "arn:aws:iam::1"} {
		cfg.Prefix, cfg.PutRole = "", role
		if _, err := Open(t.Context(), cfg); err == nil {
			t.Errorf("role %q was taken", role)
		}
	}
}
