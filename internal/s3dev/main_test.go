//go:build !nos3dev

package s3dev_test

import (
	"os"
	"testing"

	"github.com/ballast-registry/ballast/internal/s3dev"
)

// childVariable makes this test binary the store's process.
const childVariable = "BALLAST_S3DEV_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(s3dev.Child())
	}
	os.Exit(m.Run())
}
