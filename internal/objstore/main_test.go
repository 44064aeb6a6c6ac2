package objstore_test

import (
	"net/http"
	"testing"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t *testing.T, cfg objstore.Config) *objstore.S3 {
	t.Helper()
	s, err := objstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newClient is a client of signed requests with connections of its own, closed with the test.
func newClient(t *testing.T) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func subject(t *testing.T, s *objstore.S3) objstoretest.Subject {
	return objstoretest.Subject{Bucket: s, Signer: s, Client: newClient(t)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
