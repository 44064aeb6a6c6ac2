package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

const publishers = 20

// pushAll runs a `ballast push` for each target at once, each of a folder of its own, all with one token and one home.
func pushAll(t *testing.T, u user, target func(i int) string) (files [publishers]map[string][]byte, ends [publishers]outcome) {
	t.Helper()
	var all sync.WaitGroup
	for i := range publishers {
		files[i] = map[string][]byte{"weights": random(1 << 20), "config.json": fmt.Appendf(nil, `{"publisher":%d}`, i)}
		cmd := u.command(t.Context(), "push", folder(t, files[i]), target(i), "--json")
		all.Go(func() { ends[i] = finish(cmd) })
	}
	all.Wait()
	return files, ends
}

// TestTwentyVersions: twenty processes publish twenty versions of one name; all are listed.
func TestTwentyVersions(t *testing.T) {
	t.Parallel()
	r := serve(t, testenv.Embedded(t), t.TempDir())
	u := r.user(t, r.token(t, "acme=writer"))
	_, ends := pushAll(t, u, func(i int) string { return fmt.Sprintf("m:%d", i+1) })
	for _, end := range ends {
		end.want(t, 0)
	}
	listed := u.run(t, "ls", "m").want(t, 0).stdout
	for i := range publishers {
		if !strings.Contains(listed, fmt.Sprintf("acme::m::%d ", i+1)) {
			t.Errorf("version %d is not in\n%s", i+1, listed)
		}
	}
}

// TestOneLabel: twenty processes publish one label with different files. One does; the others are refused before their
// bytes reach the store, and nothing of theirs is anywhere.
func TestOneLabel(t *testing.T) {
	t.Parallel()
	s := testenv.Embedded(t)
	front := testenv.NewProxy(t, s.Endpoint)
	sent := countBytes(front)
	front.Add(isPut, -1, testenv.Delay(time.Second)) // so that the others come while the first is at it
	r := serve(t, s, t.TempDir(), "--s3-public-endpoint", front.URL)
	u := r.user(t, r.token(t, "acme=writer"))
	files, ends := pushAll(t, u, func(int) string { return "m:1" })
	stored := objects(t, s)
	winners := 0
	for i, end := range ends {
		if end.code == 0 {
			winners++
			check(t, pull(t, r.as(t, "acme=reader"), "m:1", files[i]))
			continue
		}
		end.want(t, 5)
		for path, content := range files[i] {
			key := ballast.BlobKey(scope("acme"), ballast.DigestOf(content))
			if n := sent(key); n > 0 || stored[key] != "" {
				t.Errorf("publisher %d sent %d bytes of %s; stored: %q", i, n, path, stored[key])
			}
		}
	}
	if winners != 1 {
		t.Errorf("%d publishers won", winners)
	}
}

func isPut(r *http.Request) bool { return r.Method == http.MethodPut }

// countBytes counts the bytes that clients begin to send to each key of the bucket behind a proxy.
func countBytes(front *testenv.Proxy) func(key string) int64 {
	var mu sync.Mutex
	sent := map[string]int64{}
	front.Add(func(r *http.Request) bool {
		_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		mu.Lock()
		defer mu.Unlock()
		if isPut(r) {
			sent[key] += r.ContentLength
		}
		return false
	}, -1, nil)
	return func(key string) int64 {
		mu.Lock()
		defer mu.Unlock()
		return sent[key]
	}
}

// TestDeadPublisher: a `ballast push` is killed while it sends. Its label is held, and free again by an abort or by
// --takeover.
func TestDeadPublisher(t *testing.T) {
	t.Parallel()
	s := testenv.Embedded(t)
	front := testenv.NewProxy(t, s.Endpoint)
	r := serve(t, s, t.TempDir(), "--s3-public-endpoint", front.URL)
	token := r.token(t, "acme=writer")
	for name, free := range map[string]func(t *testing.T, holder string) (flags []string){
		"abort": func(t *testing.T, holder string) []string {
			c := must[*client.Client](t)(client.New(client.Options{URL: r.url, Token: token}))
			check(t, c.Abort(t.Context(), holder))
			return nil
		},
		"takeover": func(*testing.T, string) []string { return []string{"--takeover"} },
	} {
		t.Run(name, func(t *testing.T) {
			killPush(t, front, r.user(t, token), name+":1")
			files := map[string][]byte{"weights": []byte("second " + name)}
			second, dir := r.user(t, token), folder(t, files)
			var refusal struct{ Error ballast.Error }
			end := second.run(t, "push", dir, name+":1", "--json").want(t, 5)
			check(t, json.Unmarshal([]byte(end.stdout), &refusal))
			if refusal.Error.Holder == nil {
				t.Fatalf("nobody is named: %s", end.stdout)
			}
			args := append([]string{"push", dir, name + ":1"}, free(t, refusal.Error.Holder.Upload)...)
			second.run(t, args...).want(t, 0)
			check(t, pull(t, r.as(t, "acme=reader"), name+":1", files))
		})
	}
}

// killPush kills a push while its first file is on the way to the store.
func killPush(t *testing.T, front *testenv.Proxy, u user, target string) {
	t.Helper()
	reached, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	front.Add(isPut, 1, testenv.Hold(reached, release))
	cmd := u.command(t.Context(), "push", folder(t, map[string][]byte{"weights": random(1 << 20)}), target)
	check(t, cmd.Start())
	select {
	case <-reached:
	case <-time.After(limit):
		t.Fatal("the push sends nothing")
	}
	check(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()
}
