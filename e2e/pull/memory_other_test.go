//go:build !linux

package pull_test

const growVariable = "BALLAST_PULL_GROW"

func grow() {}
