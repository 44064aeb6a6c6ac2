package client

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
)

// signed is a presigned URL as S3 signers make them.
func signed(at time.Time, life string) ballast.SignedRequest {
	return ballast.SignedRequest{Method: "GET", URL: "http://store/b/k?X-Amz-Date=" + at.UTC().Format("20060102T150405Z") + "&X-Amz-Expires=" + life}
}

// A request is renewed before it expires by the clock of who signed it, whatever the local one shows, and when it was refused.
func TestARequestIsRenewedBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, off := range []time.Duration{0, 5 * time.Hour, -5 * time.Hour} {
			theirs := func() time.Time { return time.Now().Add(off) }
			renewed := 0
			renew := func(context.Context) (ballast.SignedRequest, time.Time, error) {
				renewed++
				sr := signed(theirs(), "3600")
				sr.ExpiresAt = ballast.At(theirs().Add(time.Hour))
				return sr, theirs(), nil
			}
			a := newAccess(ballast.SignedRequest{}, time.Time{}, renew)
			get := func() ballast.SignedRequest {
				t.Helper()
				sr, err := a.get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return sr
			}
			first := get()
			time.Sleep(59 * time.Minute)
			if get().URL != first.URL || renewed != 1 {
				t.Errorf("a clock that is off by %s: renewed %d times within 59 minutes", off, renewed)
			}
			time.Sleep(time.Minute)
			second := get()
			if second.URL == first.URL || renewed != 2 {
				t.Errorf("a clock that is off by %s: renewed %d times after an hour", off, renewed)
			}
			a.refused(first) // by a transfer that began long ago
			if get().URL != second.URL {
				t.Error("a request was dropped because an older one was refused")
			}
			time.Sleep(time.Second)
			a.refused(second)
			if get().URL == second.URL || renewed != 3 {
				t.Error("a refused request was used again")
			}
		}
	})
}

func TestARequestThatCannotBeRenewed(t *testing.T) {
	lost := errors.New("lost")
	a := newAccess(ballast.SignedRequest{}, time.Time{}, func(context.Context) (ballast.SignedRequest, time.Time, error) {
		return ballast.SignedRequest{}, time.Time{}, lost
	})
	if _, err := a.get(t.Context()); !errors.Is(err, lost) {
		t.Errorf("error %v", err)
	}
}

// What a refusal means is told from its code and three clocks.
func TestARefusalIsExplained(t *testing.T) {
	for what, c := range map[string]struct {
		code            string
		registry, store time.Duration // ahead of the local clock
		signed          time.Duration // before the registry's now
		want            string
	}{
		"store ahead, we agree with the registry":  {"AccessDenied", 0, 2 * time.Hour, 0, "the store's clock is 2h0m0s ahead of the registry's, so what the registry signs is not valid there; this machine's clock agrees with the registry's"},
		"registry behind, we agree with the store": {"AccessDenied", -2 * time.Hour, 0, 0, "the store's clock is 2h0m0s ahead of the registry's, so what the registry signs is not valid there; this machine's clock agrees with the store's"},
		"registry ahead": {"AccessDenied", 20 * time.Minute, 0, 0, "the store's clock is 20m0s behind the registry's"},
		"three clocks":   {"RequestTimeTooSkewed", 20 * time.Minute, -20 * time.Minute, 0, "the store's clock is 40m0s behind the registry's, so what the registry signs is not valid there; tell"},
		"a local clock that is wrong does not count": {"AccessDenied", 5 * time.Hour, 5 * time.Hour, 0, "the store's policy forbids it"},
		"expired":            {"AccessDenied", 0, 0, 2 * time.Hour, "the request expired 1h0m0s ago"},
		"policy":             {"AccessDenied", 0, 0, time.Minute, "the store's policy forbids it"},
		"changed on the way": {"SignatureDoesNotMatch", 0, 0, 0, "the request that arrived is not the one that was signed"},
		"session over":       {"ExpiredToken", 0, 0, 0, "the registry's store credentials are no longer valid"},
		"key withdrawn":      {"InvalidAccessKeyId", 0, 0, 0, "the registry's store credentials are no longer valid"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var clock clock
			clock.registrySays(time.Now().Add(c.registry))
			sr := signed(time.Now().Add(c.registry-c.signed), "3600")
			why := clock.reasonOf(sr, &storeError{Status: http.StatusForbidden, Code: c.code}, time.Now().Add(c.store))
			if !strings.HasPrefix(why, c.want) && !strings.Contains(why, c.want) || why == "" {
				t.Errorf("%s: %q, want %q", what, why, c.want)
			}
		})
	}
	var clock clock
	if why := clock.reasonOf(ballast.SignedRequest{}, &storeError{Status: http.StatusForbidden}, time.Time{}); why == "" {
		t.Error("a refusal without clocks is not explained")
	}
	if why := clock.reasonOf(ballast.SignedRequest{}, &storeError{Status: http.StatusNotFound}, time.Time{}); why != "" {
		t.Errorf("an absent object is explained as a refusal: %q", why)
	}
}
