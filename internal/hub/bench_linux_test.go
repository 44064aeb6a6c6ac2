package hub_test

import (
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
)

const (
	benchSnapshots = 64
	benchFiles     = 100
)

// BenchmarkHubSnapshots has 64 clients download a model of 100 files at a time, on stores in memory: half of the files
// are weights, which the store sends, and half the service does. An operation is all 64. Client, service and store share
// the process: service-cpu-ms/request is what the threads used that ran the service's handlers, without the reading of
// requests from the network; heap-growth-B is what is left on the heap after the last that was not there after the first.
func BenchmarkHubSnapshots(b *testing.B) {
	var cpu atomic.Int64 // nanoseconds
	r := newRig(b, nil, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begin := threadTime()
			h.ServeHTTP(w, r)
			cpu.Add(int64(threadTime() - begin))
		})
	})
	model := map[string]string{}
	for i := range benchFiles / 2 {
		model[fmt.Sprintf("shard-%03d.bin", i)] = fmt.Sprintf("weight %d", i)
		model[fmt.Sprintf("part-%03d.json", i)] = fmt.Sprintf("text %d", i)
	}
	r.publish(r.token("acme=writer"), "acme/model:1", ballast.Metadata{}, model)
	token := r.token("acme=reader")
	var requests atomic.Int64
	round := func() {
		var g errgroup.Group
		for range benchSnapshots {
			g.Go(func() error {
				c := r.python(token)
				got, err := c.Snapshot(b.Context(), "acme/model", "main", false)
				if err == nil && len(got) != benchFiles {
					err = fmt.Errorf("%d files", len(got))
				}
				requests.Add(int64(len(c.Sent())))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	round()
	heap := heapNow()
	requests.Store(0)
	cpu.Store(0)
	start := time.Now()
	for b.Loop() {
		round()
	}
	took, n := time.Since(start), float64(requests.Load())
	b.ReportMetric(n/took.Seconds(), "requests/s")
	b.ReportMetric(time.Duration(cpu.Load()).Seconds()*1000/n, "service-cpu-ms/request")
	b.ReportMetric(float64(heapNow())-float64(heap), "heap-growth-B")
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// threadTime is the CPU that the calling thread has used.
func threadTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
