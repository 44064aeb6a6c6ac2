//go:build !linux

package crash_test

import "testing"

func TestPowerCuts(t *testing.T) { t.Skip("power is cut on Linux only") }
