//go:build nos3dev

package s3dev

import (
	"errors"
	"testing"
)

func TestLeftOut(t *testing.T) {
	if _, err := Start(t.Context(), Options{Data: t.TempDir()}); !errors.Is(err, ErrLeftOut) {
		t.Errorf("Start answered %v", err)
	}
	if code := Child(); code == 0 {
		t.Error("Child succeeded")
	}
}
