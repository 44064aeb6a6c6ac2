package ballast

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
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
	keys := keyCheck{rest: b, forms: map[reflect.Type]form{}}
	return keys.value(reflect.TypeOf(v))
}

// keyCheck looks at the keys of the objects in a document. The decoder itself compares them with fields whatever their
// case, and lets the last of several win. It has taken the document before, so the syntax is right.
type keyCheck struct {
	rest  []byte
	forms map[reflect.Type]form // of the types that have come
}

// form is what a type says of the objects and lists that are decoded into it.
type form struct {
	fields map[string]reflect.Type // of a struct, by their keys; nil where keys are free
	elem   reflect.Type            // of what a list or a map holds; nil where that is not known
}

// value takes one value off the rest, which is decoded into a t; nil where that is not known.
func (k *keyCheck) value(t reflect.Type) error {
	switch k.next() {
	case '{':
		return k.object(k.formOf(t))
	case '[':
		elem := k.formOf(t).elem
		for k.rest = k.rest[1:]; k.next() != ']'; {
			if err := k.value(elem); err != nil {
				return err
			}
		}
		k.rest = k.rest[1:]
	case '"':
		k.text()
	default: // a number, true, false or null
		if end := bytes.IndexAny(k.rest, ",]} \t\r\n"); end >= 0 {
			k.rest = k.rest[end:]
		} else {
			k.rest = nil
		}
	}
	return nil
}

func (k *keyCheck) object(f form) error {
	seen := map[string]bool{}
	for k.rest = k.rest[1:]; k.next() != '}'; {
		key, inner := k.key(), f.elem
		switch {
		case seen[key]:
			return Errorf(CodeInvalid, "JSON: the field %s is there twice", quote(key))
		case f.fields != nil && f.fields[key] == nil:
			return Errorf(CodeInvalid, "JSON: unknown field %s; mind its case", quote(key))
		case f.fields != nil:
			inner = f.fields[key]
		}
		seen[key] = true
		if err := k.value(inner); err != nil {
			return err
		}
	}
	k.rest = k.rest[1:]
	return nil
}

// next skips what stands between values, and shows how the next one begins or the list or object ends.
func (k *keyCheck) next() byte {
	for {
		switch c := k.rest[0]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			k.rest = k.rest[1:]
		default:
			return c
		}
	}
}

// text takes a string off the rest, its quotes included.
func (k *keyCheck) text() []byte {
	end := 1
	for ; k.rest[end] != '"'; end++ {
		if k.rest[end] == '\\' {
			end++
		}
	}
	text := k.rest[:end+1]
	k.rest = k.rest[end+1:]
	return text
}

// key takes a string off the rest and reads it as the decoder does.
func (k *keyCheck) key() string {
	k.next()
	text := k.text()
	for _, c := range text {
		if c == '\\' || c >= utf8.RuneSelf {
			var key string
			_ = json.Unmarshal(text, &key) // the decoder took it
			return key
		}
	}
	return string(text[1 : len(text)-1])
}

func (k *keyCheck) formOf(t reflect.Type) form {
	f, ok := k.forms[t]
	if !ok {
		f = form{fieldsOf(t), elem(t)}
		k.forms[t] = f
	}
	return f
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
