package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// crcBytes is what a checksum adds to a stored value.
const crcBytes = crc32.Size

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// sealValue returns value as it is stored under key: a copy that ends in the CRC-32C of both. The key is part of it, so
// that a value found under another key is not believed.
func sealValue(key, value []byte) []byte {
	sealed := make([]byte, 0, len(value)+crcBytes)
	return binary.BigEndian.AppendUint32(append(sealed, value...), crcOf(key, value))
}

// unsealValue returns the value in sealed, without capacity beyond it, or ErrCorrupt.
func unsealValue(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - crcBytes
	if n < 0 || n > MaxValueBytes || binary.BigEndian.Uint32(sealed[n:]) != crcOf(key, sealed[:n]) {
		return nil, fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	return sealed[:n:n], nil
}

func crcOf(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, crcTable), crcTable, value)
}
