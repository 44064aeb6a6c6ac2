package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// metrics is what --metric NAME=NUMBER says, repeated.
type metrics map[string]float64

// Decode implements kong.MapperValue.
func (m *metrics) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("metric", &text); err != nil {
		return err
	}
	name, number, ok := strings.Cut(text, "=")
	value, err := strconv.ParseFloat(number, 64)
	if !ok || name == "" || err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return fmt.Errorf("%q: write NAME=NUMBER with a finite number, as in test_accuracy=0.91", text)
	}
	if *m == nil {
		*m = metrics{}
	}
	(*m)[name] = value
	return nil
}
