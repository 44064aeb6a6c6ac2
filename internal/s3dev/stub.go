//go:build nos3dev

package s3dev

import (
	"fmt"
	"os"
)

const linked = false

// Child reports that the embedded store was left out of this binary.
func Child() int {
	fmt.Fprintln(os.Stderr, ErrLeftOut)
	return 1
}
