package e2e_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// Of so many pushes at once so many fit.
const (
	quotaPushes = 64
	quotaFits   = 10
)

// TestQuota: 64 clients push at once against a quota that fits 10, which `ballast quota` set. Ten are ready, each of the
// others is told why it is not, and what the registry counts afterwards is exact: in bytes, and in versions.
func TestQuota(t *testing.T) {
	t.Parallel()
	r := serve(t, testenv.Embedded(t), t.TempDir())
	operator := r.user(t, r.token(t, "global=admin"))
	const size = 20<<10 + 100
	for tenant, quota := range map[string][]string{
		"by-bytes":    {"--bytes", strconv.Itoa(quotaFits * size)},
		"by-versions": {"--versions", strconv.Itoa(quotaFits)},
	} {
		t.Run(tenant, func(t *testing.T) {
			operator.run(t, append([]string{"quota", "set", tenant}, quota...)...).want(t, 0)
			c := r.as(t, tenant+"=writer")
			var all sync.WaitGroup
			var ends [quotaPushes]error
			for i := range quotaPushes {
				dir := folder(t, map[string][]byte{"weights": random(20 << 10), "notes": random(100)})
				all.Go(func() {
					_, ends[i] = c.Push(t.Context(), client.PushOptions{Path: dir, Target: ref(fmt.Sprintf("m-%d", i))})
				})
			}
			all.Wait()
			ready := 0
			for i, err := range ends {
				switch ballast.CodeOf(err) {
				case "":
					ready++
				case ballast.CodeQuotaExceeded:
				default:
					t.Errorf("push %d: %v", i, err)
				}
			}
			if ready != quotaFits {
				t.Errorf("%d are ready, and %d fit", ready, quotaFits)
			}
			r.wantUsage(t, operator, tenant, ballast.Usage{Bytes: quotaFits * size, Versions: quotaFits})
		})
	}
}

// wantUsage waits until what ended is not pinned any more: then a scope uses what is ready.
func (r *registry) wantUsage(t *testing.T, u user, scope string, want ballast.Usage) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		var info ballast.QuotaInfo
		check(t, json.Unmarshal([]byte(u.run(t, "quota", "show", scope, "--json").want(t, 0).stdout), &info))
		if info.Usage != nil && *info.Usage == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s uses %+v, want %+v", scope, info.Usage, want)
		}
	}
}
