package objstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// role hands out sessions of a length, numbered, as an assumed role does.
type role struct {
	session time.Duration
	calls   int
	fail    bool
}

func (r *role) Retrieve(context.Context) (aws.Credentials, error) {
	if r.fail {
		return aws.Credentials{}, errors.New("no answer")
	}
	r.calls++
	return aws.Credentials{
		AccessKeyID: "KEY" + strconv.Itoa(r.calls), SecretAccessKey: "s", SessionToken: "session",
		CanExpire: true, Expires: time.Now().Add(r.session),
	}, nil
}

func roleStore(t *testing.T, r *role) *S3 {
	t.Helper()
	s, err := Open(t.Context(), Config{Endpoint: "http://store", Bucket: "b", PathStyle: true, Service: Identity{Keys: Keys{ID: "i", Secret: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.get = newIdentity("a role", aws.Config{Credentials: r})
	return s
}

// sign returns the key that signed and how long the request lives.
func sign(t *testing.T, s *S3, ttl time.Duration) (key string, life time.Duration) {
	t.Helper()
	req, err := s.SignGet(t.Context(), "k", "", ttl)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(req.URL, "X-Amz-Credential=")
	key, _, _ = strings.Cut(rest, "%2F")
	return key, time.Until(req.ExpiresAt.Time)
}

func TestCredentialsAreRefreshedForTheWholeLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &role{session: time.Hour}
		s := roleStore(t, r)
		if key, life := sign(t, s, 20*time.Minute); key != "KEY1" || life != 20*time.Minute {
			t.Errorf("%s for %v", key, life)
		}
		time.Sleep(50 * time.Minute) // ten minutes are left: too few
		if key, life := sign(t, s, 20*time.Minute); key != "KEY2" || life != 20*time.Minute {
			t.Errorf("%s for %v", key, life)
		}
	})
}

func TestShortSessionsBoundTheLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &role{session: 15 * time.Minute}
		s := roleStore(t, r)
		for range 100 {
			if _, life := sign(t, s, time.Hour); life > 15*time.Minute {
				t.Fatalf("signed for %v", life)
			}
		}
		if r.calls > 2 {
			t.Errorf("%d sessions for 100 signatures", r.calls)
		}
		time.Sleep(2 * time.Minute)
		if _, life := sign(t, s, time.Hour); life != 15*time.Minute {
			t.Errorf("after the pause: %v", life)
		}
	})
}

func TestARefreshThatFailsLeavesWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &role{session: time.Hour}
		s := roleStore(t, r)
		sign(t, s, time.Minute)
		time.Sleep(50 * time.Minute)
		r.fail = true
		for range 3 {
			if key, life := sign(t, s, 20*time.Minute); key != "KEY1" || life != 10*time.Minute {
				t.Errorf("%s for %v", key, life)
			}
		}
		time.Sleep(11 * time.Minute)
		if _, err := s.SignGet(t.Context(), "k", "", time.Minute); err == nil {
			t.Error("signed with dead credentials")
		}
	})
}
