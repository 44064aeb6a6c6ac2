package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
)

// table writes aligned columns.
func (a *app) table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = harmless(cell)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// pairs writes names and values in two columns, without those that have no value.
func (a *app) pairs(namesAndValues ...string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		if value := namesAndValues[i+1]; value != "" {
			fmt.Fprintf(w, "%s\t%s\n", namesAndValues[i], strings.ReplaceAll(harmless(value), "\n", "\n\t"))
		}
	}
	return w.Flush()
}

// harmless shows control characters and marks that turn text around as escapes, line ends excepted: what others wrote
// into a registry, or what answers in its place, must not drive the terminal of who reads it.
func harmless(s string) string {
	drives := func(r rune) bool {
		return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	}
	if !strings.ContainsFunc(s, drives) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if drives(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// oneLine is harmless for what stands on a line of its own: no name of an object makes it two.
func oneLine(s string) string { return harmless(strings.ReplaceAll(s, "\n", `\n`)) }

// size writes bytes for people.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// when writes an instant for people.
func when(t ballast.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime) + "Z"
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
