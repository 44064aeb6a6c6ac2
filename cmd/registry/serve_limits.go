package main

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/engine"
)

// limitFlags are what clients may ask of the service.
type limitFlags struct {
	RateLimit  float64       `env:"BALLAST_RATE_LIMIT" default:"1000" placeholder:"N" help:"Requests a second that each principal may send for ever; a change counts as 10, and 10 signed requests in an answer as one more. Over it the answer is 429 with Retry-After. 0 for no limit."`
	RateBurst  int           `env:"BALLAST_RATE_BURST" placeholder:"N" help:"Requests that a principal may send at once after a rest (default: what --rate-limit allows in 100 seconds)."`
	URLLife    time.Duration `name:"url-life" env:"BALLAST_URL_LIFE" default:"1h" placeholder:"DURATION" help:"How long a signed request to the store is good: at most 7 days, and less than --gc-grace by 15 minutes. Clients ask for new ones; a shorter life does less harm when a URL leaks, a longer one is easier on tools that are given URLs."`
	CORSOrigin []api.Origin  `name:"cors-origin" env:"BALLAST_CORS_ORIGIN" placeholder:"ORIGIN" help:"Let pages of this origin, as https://models.example, call the API from a browser. Repeatable, or separated by commas. Without it no page may."`
}

// check refuses numbers that are none.
func (f limitFlags) check() error {
	switch {
	case math.IsNaN(f.RateLimit) || math.IsInf(f.RateLimit, 0) || f.RateLimit < 0:
		return errors.New("--rate-limit: write requests a second, as in 1000, or 0 for no limit")
	case f.RateBurst < 0 || f.RateBurst > 0 && f.RateLimit == 0:
		return errors.New("--rate-burst: write a number of requests, beside a --rate-limit that is not 0")
	case f.URLLife < time.Second || f.URLLife > maxURLLife:
		return errors.New("--url-life: write a time of 1s to 7 days, as in 15m")
	}
	return nil
}

// limits are those of the API.
func (f limitFlags) limits() api.Limits { return api.Limits{Rate: f.RateLimit, Burst: f.RateBurst} }

// line has the flags again, as they would be typed.
func (f limitFlags) line() (line []string) {
	if f.RateLimit != defaultRateLimit {
		line = append(line, "--rate-limit", strconv.FormatFloat(f.RateLimit, 'g', -1, 64))
	}
	if f.RateBurst != 0 {
		line = append(line, "--rate-burst", strconv.Itoa(f.RateBurst))
	}
	if f.URLLife != defaultURLLife {
		line = append(line, "--url-life", f.URLLife.String())
	}
	for _, o := range f.CORSOrigin {
		line = append(line, "--cors-origin", shellQuote(o.String()))
	}
	return line
}

// checkSnapshots refuses numbers of snapshots that are none.
func (c *serveCmd) checkSnapshots() error {
	switch {
	case c.SnapshotInterval < 0:
		return errors.New("--snapshot-interval: write a time, as in 1h, or 0 for never")
	case c.SnapshotKeep < 1:
		return errors.New("--snapshot-keep: write a number from 1 on")
	}
	return nil
}

// checkSettings refuses what can be refused without touching anything.
func (c *serveCmd) checkSettings() error {
	return errors.Join(c.S3.check(), c.TLS.check(), c.OIDC.check(), c.Audit.check(), c.checkRunning(), c.checkReach(), c.checkOrigins(),
		c.Limits.check(), c.checkSnapshots(), c.GC.check(), c.engineLimits().Check())
}

// snapshotLine has the flags of snapshots again, as they would be typed.
func (c *serveCmd) snapshotLine() (line []string) {
	if d := engine.DefaultLimits().SnapshotInterval; c.SnapshotInterval != d && c.SnapshotKeep != 0 {
		line = append(line, "--snapshot-interval", c.SnapshotInterval.String())
	}
	if d := engine.DefaultLimits().SnapshotKeep; c.SnapshotKeep != d && c.SnapshotKeep != 0 {
		line = append(line, "--snapshot-keep", strconv.Itoa(c.SnapshotKeep))
	}
	return line
}

// engineLimits are those of the engine that have a flag.
func (c *serveCmd) engineLimits() engine.Limits {
	l := engine.Limits{PutURLLife: c.Limits.URLLife, GetURLLife: c.Limits.URLLife, SnapshotInterval: c.SnapshotInterval, SnapshotKeep: c.SnapshotKeep}
	if l.SnapshotInterval == 0 {
		l.SnapshotInterval = -1
	}
	c.GC.limits(&l)
	return l
}

// Defaults are those of the flags.
const (
	defaultRateLimit = 1000
	defaultURLLife   = time.Hour
)

// maxURLLife is that of S3's signatures. The engine refuses one that its grace does not outlast.
const maxURLLife = 7 * 24 * time.Hour
