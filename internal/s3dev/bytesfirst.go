//go:build !nos3dev

package s3dev

import (
	"os"

	"github.com/versity/versitygw/backend/meta"
)

// etagAttribute is what the gateway keeps of every object and every part, once its bytes are written and before the file
// gets its name.
const etagAttribute = "etag"

// bytesFirst flushes the bytes of each object and part before the file gets its name. The gateway leaves that to the file
// system, and most make a name outlast a loss of power sooner than bytes: the key would hold zeros of the right length,
// beside the checksum of what was sent, and a record that was replaced would be lost with its replacement. The name itself
// is flushed later, by Sync or by fsyncWrites.
type bytesFirst struct{ meta.MetadataStorer }

// StoreAttribute implements meta.MetadataStorer. f is the file that has no name yet, else nil.
func (m bytesFirst) StoreAttribute(f *os.File, bucket, object, attribute string, value []byte) error {
	if f != nil && attribute == etagAttribute {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return m.MetadataStorer.StoreAttribute(f, bucket, object, attribute, value)
}
