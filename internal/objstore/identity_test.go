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

// silent is a metadata service that does not answer.
type silent struct{}

func (silent) Retrieve(context.Context) (aws.Credentials, error) {
	time.Sleep(time.Hour)
	return aws.Credentials{}, errors.New("no answer")
}

// Where nothing was set, a machine that is no instance must not keep its operator waiting; what was set may take its time.
func TestTheLookForCredentialsIsBoundedWhereNothingWasSet(t *testing.T) {
	for instance, want := range map[bool]time.Duration{true: instanceWait, false: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := roleStore(t, &role{})
			s.service = newIdentity("the default credentials", aws.Config{Credentials: silent{}})
			s.service.instance = instance
			began := time.Now()
			err := (&prober{s: s}).haveCredentials(t.Context())
			if took := time.Since(began); took != want || strings.Contains(err.Error(), "no AWS credentials found") != instance {
				t.Errorf("instance %t: %v after %v", instance, err, took)
			}
			time.Sleep(2 * time.Hour) // until the service gives up
		})
	}
}

func TestOnlyTheLastResortIsAnInstance(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	for keys, want := range map[Keys]bool{{}: true, {ID: "i", Secret: "s"}: false} {
		s, err := Open(t.Context(), Config{Endpoint: "http://store", Bucket: "b", Service: Identity{Keys: keys}})
		if err != nil || s.service.instance != want {
			t.Errorf("%v: instance %t, %v", keys, s.service.instance, err)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "i")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	if s, err := Open(t.Context(), Config{Endpoint: "http://store", Bucket: "b"}); err != nil || s.service.instance {
		t.Errorf("from the environment: %v", err)
	}
}
