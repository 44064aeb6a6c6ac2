package ballast

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// StrictUnmarshal decodes exactly one JSON value into v. Unknown fields, fields in other letters than their own, a key
// that is twice in one object, and anything after the value are refused: what two readers could take for two documents
// is none. Errors are of CodeInvalid and name the field where the decoder knows it.
func StrictUnmarshal(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if e := (*Error)(nil); asError(err, &e) {
			return e
		}
		return Errorf(CodeInvalid, "JSON: %s", err.Error())
	}
	if _, err := dec.Token(); err != io.EOF {
		return Errorf(CodeInvalid, "JSON: something follows the value")
	}
	keys := json.NewDecoder(bytes.NewReader(b))
	keys.UseNumber() // where any JSON is kept, a number may be beyond a float64
	return checkKeys(keys, reflect.TypeOf(v))
}

// checkKeys reads one value, which the decoder has taken for a t, and looks at the keys of its objects. The decoder
// itself compares them with fields whatever their case, and lets the last of several win. t is nil where keys are free.
func checkKeys(dec *json.Decoder, t reflect.Type) error {
	token, err := dec.Token()
	if err != nil {
		return Errorf(CodeInvalid, "JSON: %s", err.Error())
	}
	open, isDelim := token.(json.Delim)
	if !isDelim {
		return nil
	}
	fields, seen := fieldsOf(t), map[string]bool{}
	for dec.More() {
		inner := elem(t)
		if open == '{' {
			token, err := dec.Token()
			key, _ := token.(string)
			switch {
			case err != nil:
				return Errorf(CodeInvalid, "JSON: %s", err.Error())
			case seen[key]:
				return Errorf(CodeInvalid, "JSON: the field %s is there twice", quote(key))
			case fields != nil && fields[key] == nil:
				return Errorf(CodeInvalid, "JSON: unknown field %s; mind its case", quote(key))
			case fields != nil:
				inner = fields[key]
			}
			seen[key] = true
		}
		if err := checkKeys(dec, inner); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing one
	return err
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// elem is what a list, a map or a pointer holds; nil where that is not known.
func elem(t reflect.Type) reflect.Type {
	t = value(t)
	if t == nil || t.Kind() != reflect.Slice && t.Kind() != reflect.Array && t.Kind() != reflect.Map {
		return nil
	}
	return t.Elem()
}

// value is t without pointers; nil for a type that decodes itself.
func value(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	return t
}

// fieldsOf are the types of a struct's fields by their keys; nil for what is no struct.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if t = value(t); t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	fields := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}
