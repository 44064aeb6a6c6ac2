package weights

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
)

// maxShards is how many shards an index may name: more files than a version holds.
const maxShards = 10_000

// indexSuffix ends the names of indexes of shards, and of other files.
const indexSuffix = ".index.json"

// mayBeIndex reports whether a file may be an index of shards by its name.
func mayBeIndex(p string) bool { return strings.HasSuffix(strings.ToLower(p), indexSuffix) }

// isIndex reports whether a name says that the file is an index of weight files, as model.safetensors.index.json does.
func isIndex(p string) bool {
	of := strings.TrimSuffix(strings.ToLower(p), indexSuffix)
	return FormatOf(of) != "" || strings.HasSuffix(of, ".bin")
}

// readIndex returns the tensors of each shard that the weight_map of an index names, or with namesOnly the shards alone;
// nil when the file has no weight_map and so is something else.
func readIndex(ctx context.Context, src Source, limit int64, namesOnly bool) (map[string][]string, error) {
	if src.Size > limit {
		return nil, bad("has %d bytes; of an index %d are read", src.Size, limit)
	}
	c := newCursor(ctx, src, src.Size)
	dec := newDecoder(c)
	if first, err := firstOf(c); err != nil || first != '{' {
		return nil, err
	}
	var shards map[string][]string
	err := object(dec, func(key string) error {
		if key != "weight_map" {
			return skipValue(dec)
		}
		if shards == nil {
			shards = map[string][]string{}
		}
		return object(dec, func(tensor string) error {
			t, err := dec.Token()
			shard, ok := t.(string)
			_, known := shards[shard]
			switch {
			case err != nil:
				return notJSON(err)
			case !ok || len(shard) > maxName:
				return bad("has a weight_map that does not name a file for each tensor")
			case len(shards) == maxShards && !known:
				return bad("names more than %d shards", maxShards)
			}
			if shards[shard] = append(shards[shard], tensor); namesOnly {
				shards[shard] = nil
			}
			return nil
		})
	})
	if err != nil {
		return nil, orElse(c.failed, err)
	}
	return shards, nil
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
