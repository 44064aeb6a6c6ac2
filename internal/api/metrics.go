package api

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route, method and status. No label takes a value that a client can invent.
type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	limited  *prometheus.CounterVec

	mu     sync.RWMutex
	series map[seriesOf]series // looked up before: the vectors hash each label every time
}

// seriesOf are the labels of a request. There are as many as the vectors have.
type seriesOf struct {
	route, method string
	status        int
}

type series struct {
	requests prometheus.Counter
	latency  prometheus.Observer
}

// What a request can be over, as metrics name it.
const (
	limitRequests  = "requests"  // of a principal
	limitStrangers = "strangers" // requests without a token that is known
	limitHeld      = "held"      // answers held; these are given at once
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		series: map[seriesOf]series{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ballast_http_requests_total",
			Help: "Requests answered, by route, method and HTTP status.",
		}, []string{"route", "method", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ballast_http_request_duration_seconds",
			Help:    "Seconds from the request's headers to the end of the answer, by route and method.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route", "method"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ballast_http_limited_total",
			Help: "Requests that were over a limit: requests and strangers were answered 429, held at once.",
		}, []string{"limit"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.latency, m.limited)
	}
	return m
}

func (m *metrics) observe(route, method string, status int, took time.Duration) {
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}, method) {
		method = "other"
	}
	is := m.seriesOf(seriesOf{route, method, status})
	is.requests.Inc()
	is.latency.Observe(took.Seconds())
}

func (m *metrics) seriesOf(labels seriesOf) series {
	m.mu.RLock()
	is, ok := m.series[labels]
	m.mu.RUnlock()
	if ok {
		return is
	}
	is = series{m.requests.WithLabelValues(labels.route, labels.method, strconv.Itoa(labels.status)), m.latency.WithLabelValues(labels.route, labels.method)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.series[labels] = is
	return is
}
