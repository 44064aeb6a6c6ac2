//go:build !linux

package powerloss_test

import "testing"

func TestPowerCuts(t *testing.T) { t.Skip("power is cut on Linux only") }
