package testenv

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// AnonymousMemory is the memory of a process that is no file's (RssAnon of Linux), in bytes. A process that has ended has
// none, which is an error.
func AnonymousMemory(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "\nRssAnon:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	return kib << 10, err
}
