package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// schema is the number that stored values carry. A change of form gets a migration and the next number.
const schema = 1

type stored[T any] struct {
	Schema int `json:"schema"`
	Value  T   `json:"value"`
}

func put[T any](tx Tx, key []byte, value T) error {
	b, err := json.Marshal(stored[T]{schema, value})
	if err != nil {
		return fmt.Errorf("index: encoding %q: %w", key, err)
	}
	return tx.Put(key, withHead(value, b))
}

func decode[T any](key, b []byte) (T, error) {
	var s stored[T]
	head, body, err := splitHead(b)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err == nil && s.Schema != schema {
		return s.Value, fmt.Errorf("index: decoding %q: schema %d: %w", key, s.Schema, ErrNewer)
	}
	if err == nil {
		err = checkHead(s.Value, head)
	}
	if err != nil {
		return s.Value, fmt.Errorf("index: decoding %q: %w: %w", key, ErrCorrupt, err)
	}
	return s.Value, nil
}

// get returns the value of key, or ErrNotFound.
func get[T any](tx Tx, key []byte) (T, error) {
	b, err := tx.Get(key)
	if err != nil {
		var zero T
		return zero, err
	}
	return decode[T](key, b)
}

// lookup is get with absence as a value.
func lookup[T any](tx Tx, key []byte) (T, bool, error) {
	v, err := get[T](tx, key)
	if errors.Is(err, ErrNotFound) {
		return v, false, nil
	}
	return v, err == nil, err
}

func exists(tx Tx, key []byte) (bool, error) {
	_, err := tx.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// keys returns the keys under prefix, at most limit, and stops at the first error.
func keys(tx Tx, prefix []byte, limit int) ([][]byte, error) {
	var found [][]byte
	for item, err := range tx.Scan(prefix, nil, false) {
		if err != nil {
			return nil, err
		}
		if found = append(found, append([]byte(nil), item.Key...)); len(found) == limit {
			break
		}
	}
	return found, nil
}

func empty(tx Tx, prefix []byte) (bool, error) {
	k, err := keys(tx, prefix, 1)
	return len(k) == 0, err
}

// behind returns the least key above k, where a scan goes on that ended at k; of no key it is the beginning.
func behind(k []byte) []byte {
	if len(k) == 0 {
		return nil
	}
	return append(bytes.Clone(k), 0x00)
}

func first(items iter.Seq2[Item, error]) (Item, bool, error) {
	for item, err := range items {
		return item, err == nil, err
	}
	return Item{}, false, nil
}

// deleteAll removes several keys.
func deleteAll(tx Tx, all ...[]byte) error {
	for _, k := range all {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// putAll writes several empty values.
func putAll(tx Tx, all ...[]byte) error {
	for _, k := range all {
		if err := tx.Put(k, nil); err != nil {
			return err
		}
	}
	return nil
}
