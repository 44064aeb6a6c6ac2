package api

import (
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast/internal/engine"
)

// Bounds of the requests whose answers are held until something happens.
const (
	maxHeld      = 1024
	maxHeldOfOne = 64 // principal
)

// held counts the requests that wait.
type held struct {
	mu  sync.Mutex
	all int
	of  map[payer]int
}

// enter reports whether one more may wait, which then has to leave.
func (h *held) enter(who payer) (leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all >= maxHeld || h.of[who] >= maxHeldOfOne {
		return func() {}, false
	}
	if h.of == nil {
		h.of = map[payer]int{}
	}
	h.all++
	h.of[who]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all--
		if h.of[who]--; h.of[who] == 0 {
			delete(h.of, who)
		}
	}, true
}

// hold returns for how long an answer may be held: as long as was asked for, or not at all while too many are. Then the
// answer is what there is, which whoever waits has to be ready for anyway.
func (s *server) hold(c echo.Context, asked time.Duration) (wait time.Duration, leave func()) {
	if asked <= 0 {
		return 0, func() {}
	}
	leave, ok := s.held.enter(payerOf(c))
	if !ok {
		s.metrics.limited.WithLabelValues(limitHeld).Inc()
		return 0, leave
	}
	return asked, leave
}

// still refuses who is no longer let in, behind an answer that was held: a token may have ended meanwhile.
func (s *server) still(c echo.Context, waited time.Duration) error {
	if waited <= 0 {
		return nil
	}
	_, err := s.principal(c.Request())
	return err
}

// Bounds of what is in memory for requests, all together and of one scope. Whoever sends or reads slowly keeps nobody
// waiting but its own scope.
const (
	maxBodies         = 64 << 20 // bytes of long bodies
	maxBodiesOfScope  = 16 << 20
	maxAnswers        = 32 // long answers; one takes up to 4 MiB
	maxAnswersOfScope = 8
)

// long is a handler whose answers may be long: so many are made and sent at once, and so many of one scope.
func (s *server) long(h handler) handler {
	return func(c echo.Context, p engine.Principal) error {
		leave, err := s.answers.Take(c.Request().Context(), p.Turn(), 1)
		if err != nil {
			return err
		}
		defer leave()
		return h(c, p)
	}
}
