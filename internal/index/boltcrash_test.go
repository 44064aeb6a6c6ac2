package index_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast/internal/index"
)

// crashFileEnv tells the test binary to be the process that is killed, and which file to write.
const crashFileEnv = "BALLAST_TEST_CRASH_FILE"

const (
	crashWriters = 16
	crashRounds  = 3
	crashAcks    = 400 // of each round, before the kill
)

// TestBoltKilled kills a process in the middle of its Updates, several times over on one file, and looks for everything
// that had been acknowledged. A kill does not lose what the kernel holds: that the kernel is made to write it out, no
// test can show without cutting the power.
func TestBoltKilled(t *testing.T) {
	path := boltPath(t)
	acked := map[string]int{} // writer → last number acknowledged
	for range crashRounds {
		crashRound(t, path, acked)
		s := openBolt(t, path, index.BoltOptions{})
		for writer, want := range acked {
			crashVerify(t, s, writer, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func crashRound(t *testing.T, path string, acked map[string]int) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBoltCrashWriter$")
	cmd.Env = append(os.Environ(), crashFileEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); n++ { // to the end of what got out before the kill
		var writer string
		var number int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d\n", &writer, &number); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		acked[writer] = number
		if n == crashAcks {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || n < crashAcks {
		t.Fatalf("the writer ended by itself after %d Updates: %v", n, err)
	}
}

// crashVerify wants all pairs that writer made up to number want, and those after it, of which no answer came, whole.
func crashVerify(t *testing.T, s index.Store, writer string, want int) {
	t.Helper()
	err := s.View(t.Context(), func(tx index.Tx) error {
		count := map[string]int{}
		for _, half := range []string{"left", "right"} {
			for item, err := range tx.Scan([]byte(half+"/"+writer+"/"), nil, false) {
				number := count[half] + 1
				count[half] = number
				if key := crashKey(half, writer, number); err != nil || string(item.Key) != string(key) || len(item.Value) != 500 {
					return fmt.Errorf("got %q with %d bytes, %w; want %q with 500", item.Key, len(item.Value), err, key)
				}
			}
		}
		if count["left"] < want || count["left"] != count["right"] {
			return fmt.Errorf("%s: %d of %d acknowledged Updates are there, %d of their second halves",
				writer, count["left"], want, count["right"])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func crashKey(half, writer string, number int) []byte {
	return fmt.Appendf(nil, "%s/%s/%08d", half, writer, number)
}

// TestBoltCrashWriter is the process that TestBoltKilled kills. It goes on from what the file holds and prints each
// Update once it has returned.
func TestBoltCrashWriter(t *testing.T) {
	path := os.Getenv(crashFileEnv)
	if path == "" {
		return // only a part of TestBoltKilled
	}
	s := openBolt(t, path, index.BoltOptions{})
	var group errgroup.Group
	for i := range crashWriters {
		writer := fmt.Sprintf("w%02d", i)
		group.Go(func() error {
			for {
				number, err := crashWrite(t, s, writer)
				if err != nil {
					return err
				}
				fmt.Printf("%s %d\n", writer, number)
			}
		})
	}
	t.Fatal(group.Wait())
}

func crashWrite(t *testing.T, s index.Store, writer string) (number int, err error) {
	err = s.Update(t.Context(), func(tx index.Tx) error {
		number = 1
		for item, err := range tx.Scan([]byte("left/"+writer+"/"), nil, true) {
			if err != nil {
				return err
			}
			if _, err := fmt.Sscanf(string(item.Key), "left/"+writer+"/%d", &number); err != nil {
				return err
			}
			number++
			break
		}
		value := make([]byte, 500)
		return errors.Join(tx.Put(crashKey("left", writer, number), value), tx.Put(crashKey("right", writer, number), value))
	})
	return number, err
}
