package hostile

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Forged is what a line of a log must never begin with: attacks try to write one.
const Forged = "forged-line"

// Smuggle is what goes over one connection, byte for byte: requests in a form that two programs may read in two ways. A
// request that is hidden in it asks for /v1/whoami without a token, or as somebody else.
type Smuggle struct {
	Group, Name string
	Raw         string // {host}, {token} and {other}, a token of global that the attacker has too
	Check       func(answers []Answer) (wrong string)
}

// Title names it in a test.
func (s Smuggle) Title() string { return s.Group + "/" + strings.ReplaceAll(s.Name, "/", "∕") }

// last is what follows, so that the registry closes the connection.
const last = "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

// TrySmuggle sends it as every caller and reports what was wrong. It returns the connections that it made.
func (w *World) TrySmuggle(s Smuggle, report func(format string, args ...any)) (sent int) {
	for _, c := range w.callers {
		answers, err := w.overWire(strings.NewReplacer("{host}", w.wire.host, "{token}", c.token, "{other}", w.other).Replace(s.Raw + last))
		sent++
		if err != nil {
			report("%s by %s: %v", s.Title(), c.Name, err)
		}
		wrong := s.Check(answers)
		if c.token == "" || !c.known() { // then it may be refused for that alone, and must not be let in
			wrong = letIn(0)(answers)
		}
		for _, a := range answers {
			if a.Status >= 500 && a.Status != http.StatusNotImplemented && a.Status != http.StatusHTTPVersionNotSupported {
				wrong = fmt.Sprintf("a failure of the service: %d", a.Status)
			}
		}
		if wrong != "" {
			report("%s by %s: %s: %.1000s", s.Title(), c.Name, wrong, answers)
		}
	}
	return sent
}

// overWire sends everything over a connection of its own and reads answers until the registry closes it.
func (w *World) overWire(text string) (answers []Answer, err error) {
	one := &wire{host: w.wire.host}
	defer one.close()
	if err := one.dial(); err != nil {
		return nil, err
	}
	_ = one.conn.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.WriteString(one.conn, text) }() // who refuses early reads no more
	for {
		a, err := one.read(http.MethodGet)
		if err != nil {
			return answers, nil // closed; what was answered before counts
		}
		if answers = append(answers, a); one.conn == nil {
			return answers, nil
		}
	}
}

// letIn wants no more than so many answers that say who somebody is.
func letIn(most int) func([]Answer) string {
	return func(answers []Answer) string {
		n := 0
		for _, a := range answers {
			if a.Status == http.StatusOK && strings.Contains(a.Body, `"grants"`) {
				n++
			}
		}
		if n > most {
			return fmt.Sprintf("%d requests were let in, %d had a token", n, most)
		}
		return ""
	}
}

// first wants the first answer to have one of the statuses, and nothing hidden to be let in.
func first(statuses ...int) func([]Answer) string {
	return func(answers []Answer) string {
		if len(answers) == 0 || !slices.Contains(statuses, answers[0].Status) {
			return fmt.Sprintf("is not answered %v", statuses)
		}
		return letIn(0)(answers)
	}
}

// without wants no answer to hold a text, and the first one to be 200 if it says so.
func without(text string, ok bool) func([]Answer) string {
	return func(answers []Answer) string {
		if len(answers) == 0 || ok && answers[0].Status != http.StatusOK {
			return "is not answered 200"
		}
		for _, a := range answers {
			if strings.Contains(strings.ToLower(a.String()), text) {
				return "shows " + text
			}
		}
		return ""
	}
}

// CountSmuggle adds the callers of an attack on the listener.
func (t Tally) CountSmuggle() { t.Count(Attack{Face: Wire}) }
