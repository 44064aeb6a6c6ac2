package weights

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
)

// maxShards is how many shards an index may name: more files than a version holds.
const maxShards = 10_000

// readIndex returns the shards that the weight_map of an index names, sorted; none when the file has no weight_map and
// so is something else.
func readIndex(ctx context.Context, src Source, limit int64) ([]string, error) {
	if src.Size > limit {
		return nil, bad("has %d bytes; of an index %d are read", src.Size, limit)
	}
	c := newCursor(ctx, src, src.Size)
	dec := newDecoder(c)
	if first, err := firstOf(c); err != nil || first != '{' {
		return nil, err
	}
	shards := map[string]bool{}
	err := object(dec, func(key string) error {
		if key != "weight_map" {
			return skipValue(dec)
		}
		return object(dec, func(string) error {
			t, err := dec.Token()
			shard, ok := t.(string)
			switch {
			case err != nil:
				return notJSON(err)
			case !ok || len(shard) > maxName:
				return bad("has a weight_map that does not name a file for each tensor")
			case len(shards) == maxShards && !shards[shard]:
				return bad("names more than %d shards", maxShards)
			}
			shards[shard] = true
			return nil
		})
	})
	if err != nil {
		return nil, orElse(c.failed, err)
	}
	return slices.Sorted(maps.Keys(shards)), nil
}

// firstOf looks at the first byte that is no white space; of nothing else it is zero.
func firstOf(c *cursor) (byte, error) {
	for c.pos < c.limit {
		b, err := c.need1()
		if err != nil || !bytes.ContainsRune([]byte(" \t\r\n"), rune(b)) {
			return b, err
		}
		if err := c.skip(1); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// skipValue passes over one value of any kind.
func skipValue(dec *json.Decoder) error {
	for depth := 0; ; {
		t, err := dec.Token()
		if err != nil {
			return notJSON(err)
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
