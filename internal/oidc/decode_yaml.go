package oidc

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fields reads a map whose names are known.
type fields map[string]func(*yaml.Node) error

func (f fields) read(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return at(n, "write a map of %s", f.names())
	}
	return eachField(n, func(name string, value *yaml.Node) error {
		read, ok := f[name]
		if !ok {
			return at(value, "there is no %q here, but %s", name, f.names())
		}
		return read(value)
	})
}

func (f fields) names() string { return strings.Join(slices.Sorted(maps.Keys(f)), ", ") }

// eachField passes the fields of a map on. One that is there twice is refused, and so is what stands for something elsewhere.
func eachField(n *yaml.Node, do func(name string, value *yaml.Node) error) error {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Value == "" || key.Tag == "!!merge" {
			return at(key, "a name is a text")
		}
		if seen[key.Value] {
			return at(key, "%q is there twice", key.Value)
		}
		seen[key.Value] = true
		if err := do(key.Value, value); err != nil {
			return err
		}
	}
	return nil
}

// textOf reads one text. A number, true and false are what they are written as.
func textOf(to *string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || len(n.Value) > maxValueBytes {
			return at(n, "write a text of at most %d bytes", maxValueBytes)
		}
		*to = n.Value
		return nil
	}
}

// textsIn reads one text, or a list of some.
func textsIn(to *[]string, most int) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind == yaml.SequenceNode {
			return listOf(to, most, func(n *yaml.Node) (s string, err error) { return s, textOf(&s)(n) })(n)
		}
		var one string
		err := textOf(&one)(n)
		*to = []string{one}
		return err
	}
}

// listOf reads a list that is not empty.
func listOf[T any](to *[]T, most int, read func(*yaml.Node) (T, error)) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || len(n.Content) > most {
			return at(n, "write a list of 1 to %d", most)
		}
		for _, item := range n.Content {
			one, err := read(item)
			if err != nil {
				return err
			}
			*to = append(*to, one)
		}
		return nil
	}
}

// at is an error at a place of the file.
func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
}
