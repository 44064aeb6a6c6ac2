package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/testenv"
)

// A link between two network namespaces. The store and the registry are behind it, under an address each, for a client
// would send its token to a store that is called like the registry.
const (
	linkRate     = "2gbit"
	linkBits     = 2e9
	linkBurst    = "256kb" // over the 64 KiB that the kernel hands over in one piece
	linkLatency  = "50ms"
	nearAddress  = "10.231.77.1"
	storeAddress = "10.231.77.2"
	ourAddress   = "10.231.77.3"
)

// BenchmarkLink pushes and pulls 8 shards over a link of 2 Gbit/s, with the store and the registry on the other side.
func BenchmarkLink(b *testing.B) {
	within := link(b)
	b.Log(machine(), "; the link: veth, tbf ", linkRate, " each way")
	of := shapes(size(b))[0]
	s := inFast(b, func() *testenv.Store {
		return testenv.MinIOAt(b, testenv.Place{Within: within, Address: storeAddress + ":9000"})
	})
	behind := func(b *testing.B) *registry {
		r := serve(b, s.Beside(b), testenv.Place{Within: within, Address: ourAddress + ":8080"})
		r.link = linkBits
		return r
	}
	b.Run("push", func(b *testing.B) { benchPush(b, behind(b), of) })
	b.Run("pull", func(b *testing.B) { benchPull(b, behind(b), of) })
}

// link makes the namespace and what leads there, until the benchmark ends. What it returns goes before a command that is to
// run on the other side.
func link(b *testing.B) (within []string) {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("missing: the right to make network namespaces; run as root")
	}
	id := strconv.Itoa(os.Getpid())
	far, near, end := "ballast-"+id, "bn"+id, "bf"+id
	run := func(words string) {
		b.Helper()
		args := strings.Fields(words)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", words, err, out)
		}
	}
	run("ip netns add " + far)
	b.Cleanup(func() { run("ip netns delete " + far) })
	run(fmt.Sprintf("ip link add %s type veth peer name %s netns %s", near, end, far))
	// Processes on the other side keep the namespace; its end of the pair goes here.
	b.Cleanup(func() { run("ip link delete " + near) })
	run(fmt.Sprintf("ip address add %s/29 dev %s", nearAddress, near))
	run(fmt.Sprintf("ip link set %s up", near))
	inside := "ip netns exec " + far + " "
	for _, address := range []string{storeAddress, ourAddress} {
		run(fmt.Sprintf("%sip address add %s/29 dev %s", inside, address, end))
	}
	run(inside + "ip link set lo up")
	run(fmt.Sprintf("%sip link set %s up", inside, end))
	shape := " root tbf rate " + linkRate + " burst " + linkBurst + " latency " + linkLatency
	run("tc qdisc add dev " + near + shape)
	run(inside + "tc qdisc add dev " + end + shape)
	return strings.Fields(inside)
}
