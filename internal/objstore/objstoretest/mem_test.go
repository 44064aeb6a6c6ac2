package objstoretest

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

func memSubject(m *Mem) Subject {
	return Subject{Bucket: m, Signer: m, Client: m.Client(), Beside: m.Neighbour("beside"), BesideName: "beside"}
}

func TestMem(t *testing.T) {
	Run(t, func(t *testing.T) Subject { return memSubject(NewMem()) })
}

func TestMemVersioned(t *testing.T) {
	Run(t, func(t *testing.T) Subject {
		m := NewMem()
		m.SetVersioned(true)
		return memSubject(m)
	})
}

func TestMemOverHTTP(t *testing.T) {
	Run(t, func(t *testing.T) Subject {
		m := NewMem()
		s := memSubject(m)
		s.Client = m.Serve(t).Client()
		return s
	})
}

func TestMemFailsBeforeAndAfterPersisting(t *testing.T) {
	ctx, m, planted := t.Context(), NewMem(), errors.New("planted")
	m.Fail(OpPut, 2, planted, false)
	m.Fail(OpWrite, 4, planted, true)
	for i, want := range []struct {
		failed, there bool
	}{{false, true}, {true, false}, {false, true}, {true, true}, {false, true}} {
		key := string(rune('a' + i))
		_, err := m.Put(ctx, key, []byte(key), objstore.Condition{})
		if _, there := m.Peek(key); errors.Is(err, planted) != want.failed || there != want.there {
			t.Errorf("put %d: there=%v, %v", i+1, there, err)
		}
	}
	if m.Calls(OpPut) != 5 || m.Calls(OpWrite) != 5 {
		t.Errorf("counted %d puts, %d writes", m.Calls(OpPut), m.Calls(OpWrite))
	}
	m.Fail(OpClientPut, 1, planted, true)
	req, err := m.SignPut(ctx, "k", ballast.DigestOf([]byte("k")), 1, ttl)
	must(t, err)
	if status := m.Do(req, []byte("k"), nil); status != http.StatusServiceUnavailable {
		t.Errorf("the client got %d", status)
	}
	if status := m.Do(req, []byte("k"), nil); status != http.StatusPreconditionFailed {
		t.Errorf("the client's second try got %d", status)
	}
}

func TestMemRefusesAttacksAndLateRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		m.Plant("secret", []byte("s"))
		m.SetCredentialsEnd(time.Now().Add(time.Minute))
		req, err := m.SignPut(t.Context(), "k", ballast.DigestOf([]byte("k")), 1, ttl)
		must(t, err)
		if life := time.Until(req.ExpiresAt.Time); life > time.Minute {
			t.Errorf("signed for %v with credentials of one minute", life)
		}
		if status := m.Do(req, []byte("k"), http.Header{"X-Amz-Copy-Source": {"/b/secret"}}); status != http.StatusForbidden {
			t.Errorf("copy-source: %d", status)
		}
		time.Sleep(61 * time.Second)
		if status := m.Do(req, []byte("k"), nil); status != http.StatusForbidden {
			t.Errorf("after the end of the credentials: %d", status)
		}
	})
}
