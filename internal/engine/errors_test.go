package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// What the index can suffer reaches callers typed; a defect stays one.
func TestAsError(t *testing.T) {
	for _, c := range []struct {
		err  error
		code ballast.Code
	}{
		{index.ErrCorrupt, ballast.CodeIntegrity},
		{index.ErrNewer, ballast.CodeUnavailable},
		{index.ErrFull, ballast.CodeUnavailable},
		{index.ErrFailed, ballast.CodeUnavailable},
		{index.ErrTooLarge, ballast.CodeInternal},
		{errors.New("x"), ballast.CodeInternal},
		{ballast.Errorf(ballast.CodeRetired, "x"), ballast.CodeRetired},
	} {
		wrapped := fmt.Errorf("index: key %q: %w", "secret", c.err)
		e := engine.AsError(wrapped)
		if e.Code != c.code || c.code != ballast.CodeRetired && !errors.Is(e, c.err) {
			t.Errorf("%v: got %v", c.err, e)
		}
	}
	if defect := ballast.Errorf(ballast.CodeInternal, "x"); engine.AsError(defect) != defect || defect.Unwrap() != nil {
		t.Error("a typed defect did not stay as it was")
	}
	if engine.AsError(nil) != nil {
		t.Error("no error became one")
	}
}

// A claim that cannot be read is not a lost one: nothing is written meanwhile, and all goes on afterwards.
func TestUnreadableOwnerMarkIsNoVerdict(t *testing.T) {
	m, r := memRig(t, func(o *engine.Options) {
		o.Limits.FenceAge, o.Limits.RecordTimeout, o.Limits.TakeOverWait = 30*time.Millisecond, time.Second, 2*time.Second
	})
	const key = "index/owner.json"
	for name, damage := range map[string]func(){
		"not understood": func() { m.Fail(objstoretest.OpGet, 0, objstore.ErrUnknown, false) },
		"cut short": func() {
			if _, err := m.Put(t.Context(), key, []byte(`{"index_id":"`), objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mark := read(t, m, key)
			damage()
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				_, err := r.open(t, writer, "m")
				if err != nil {
					wantCode(t, err, ballast.CodeUnavailable)
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("an upload is opened on a claim that nobody could read")
				}
				if name == "not understood" {
					damage() // it strikes once
				}
			}
			m.Heal()
			if _, err := m.Put(t.Context(), key, mark, objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				if _, err := r.push(t, writer, "m", small(name)); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
		})
	}
}

func read(t *testing.T, b objstore.Bucket, key string) []byte {
	t.Helper()
	r, _, err := b.Get(t.Context(), key, objstore.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var body [4096]byte
	n, _ := r.Read(body[:])
	return body[:n]
}
