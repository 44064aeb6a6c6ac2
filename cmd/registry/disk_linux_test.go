package main

import "testing"

// TestFileSystems: what doctor says of the index's place by the kernel's number of it.
func TestFileSystems(t *testing.T) {
	for magic, want := range map[int64]string{0x6969: "nfs", 0xFF534D42: "cifs", 0xEF53: "ext4", 0x01021994: "tmpfs", 0x794c7630: "overlay"} {
		if got := fileSystemName(magic); got != want {
			t.Errorf("%#x is %q, want %q", magic, got, want)
		}
	}
}
