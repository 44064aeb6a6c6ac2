package oidc

import (
	"context"
	"crypto"
	"log/slog"
	"math"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/ballast-registry/ballast"
)

// Times of an issuer's keys. An issuer is asked when a token needs it, one request at a time, and not more often than the
// pauses allow: whoever sends tokens with keys that do not exist makes the registry ask no more than one who sends none.
const (
	keysFresh   = 10 * time.Minute // then they are fetched anew beside the requests that use them
	keysOverdue = 20 * time.Minute // then before, unless the issuer does not answer
	keysTrusted = time.Hour        // then they are not used until they were
	keysPause   = 10 * time.Second // between fetches
	failedPause = 2 * time.Second  // after one that failed, while there are no keys; until then its failure is the answer
	fetchLimit  = 10 * time.Second // of one fetch
)

// Attributes of the log.
const (
	attrIssuer = "issuer"
	attrKeys   = "keys"
	attrError  = "error"
)

// keySet are public keys by their ids.
type keySet map[string][]publicKey

type publicKey struct {
	crypto.PublicKey
	algorithm string // "": any that fits the key
}

// signedWith returns the keys with which a token with the header may be signed.
func (s keySet) signedWith(h header) (found []crypto.PublicKey) {
	for _, k := range s[h.KeyID] {
		if k.algorithm == "" || k.algorithm == h.Algorithm {
			found = append(found, k.PublicKey)
		}
	}
	return found
}

// keys are those of one issuer, fetched when they are needed.
type keys struct {
	issuer string
	fetch  func(context.Context) (keySet, error)
	now    func() time.Time
	log    *slog.Logger
	life   context.Context // of fetches: who asks may be gone before
	active *sync.WaitGroup // of fetches

	mu     sync.Mutex
	set    keySet
	good   time.Time     // when set was fetched
	tried  time.Time     // when the last fetch ended
	failed error         // what it ended with
	flight chan struct{} // closed when the fetch under way ends; nil when there is none
}

// of returns the verifier of a signature by the key that a header names.
func (k *keys) of(ctx context.Context, h header) (gooidc.KeySet, error) {
	for range 3 { // once to look, once to wait, and once more for a clock that was set
		found, wait, err := k.look(h)
		if wait == nil {
			return &gooidc.StaticKeySet{PublicKeys: found}, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, k.unavailable(failedPause).Because(ctx.Err())
		}
	}
	return nil, k.unavailable(failedPause)
}

// look returns what is known of a key, or what to wait for.
func (k *keys) look(h header) (found []crypto.PublicKey, wait <-chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	age := now.Sub(k.good)
	if k.set != nil && age < keysTrusted {
		found = k.set.signedWith(h)
	}
	left := k.pause(age) - now.Sub(k.tried)
	may := k.flight == nil && left <= 0 || k.flight != nil && k.failed == nil // it is worth to wait
	switch {
	case len(found) > 0 && (age < keysOverdue || !may):
		if age >= keysFresh && left <= 0 {
			k.begin()
		}
		return found, nil, nil
	case k.flight != nil && k.failed != nil: // only who asked waits for what is likely to fail again
		return nil, nil, k.unavailable(failedPause).Because(k.failed)
	case k.flight != nil || left <= 0:
		return nil, k.begin(), nil
	case k.failed != nil:
		return nil, nil, k.unavailable(left).Because(k.failed)
	}
	return nil, nil, bad("the token was signed by a key that %s does not publish", k.issuer)
}

// pause is how long a fetch has to lie back before the next, when the keys are of an age. It needs mu.
func (k *keys) pause(age time.Duration) time.Duration {
	switch {
	case k.tried.IsZero():
		return 0
	case k.failed != nil && age >= keysTrusted:
		return failedPause
	}
	return keysPause
}

// warm begins to fetch the keys.
func (k *keys) warm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begin()
}

// begin returns what is closed when the fetch under way ends, which it begins when there is none. It needs mu.
func (k *keys) begin() <-chan struct{} {
	if k.flight != nil {
		return k.flight
	}
	done := make(chan struct{})
	k.flight = done
	k.active.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(k.life, fetchLimit)
		defer cancel()
		set, err := k.fetch(ctx)
		if err != nil {
			err = short(err) // which may hold all of an answer
		}
		k.tell(ctx, set, err)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.flight, k.tried, k.failed = nil, k.now(), err
		if err == nil {
			k.set, k.good = set, k.tried
		}
	})
	return done
}

func (k *keys) tell(ctx context.Context, set keySet, err error) {
	switch {
	case k.life.Err() != nil:
	case err != nil:
		k.log.WarnContext(ctx, "an issuer's keys cannot be fetched; its tokens are unavailable once the keys from before are too old", slog.String(attrIssuer, k.issuer), slog.Any(attrError, err))
	default:
		k.log.DebugContext(ctx, "fetched an issuer's keys", slog.String(attrIssuer, k.issuer), slog.Int(attrKeys, len(set)))
	}
}

func (k *keys) unavailable(again time.Duration) *ballast.Error {
	e := ballast.Errorf(ballast.CodeUnavailable, "%s, which issued the token, does not say which keys are its own, so that the token can be neither taken nor refused; try again", k.issuer)
	e.RetryAfter = math.Ceil(max(again, time.Second).Seconds())
	return e
}
