// Package metrics counts what the service does, for Prometheus.
//
// Events are counted by the log inventory's names, so that whoever knows the log knows
// the metrics, and none can be forgotten. A label is a fixed word or a key's ID: nothing
// that comes from outside, and nothing about anybody.
package metrics

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Metrics are those of one service. Use [New].
type Metrics struct {
	registry *prometheus.Registry
	events   events
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
	running  prometheus.Gauge
}

// New returns the metrics of a program of this version: those of the process, and
// counters that stand at zero.
func New(version string) *Metrics {
	counted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cloakroom_events_total", Help: "Events, by the names of the log inventory.",
	}, []string{"event"})
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events:   events{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloakroom_http_requests_total", Help: "Requests that have been answered.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cloakroom_http_request_duration_seconds", Help: "How long answers took.",
			// From a read of the memory store to a login that waited for its hash.
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cloakroom_http_requests_in_flight", Help: "Requests that are being answered.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cloakroom_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, name := range event.Names() {
		m.events[name] = counted.WithLabelValues(name)
	}
	m.registry.MustRegister(counted, m.requests, m.seconds, m.running, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers with all of them, in the text format of Prometheus or in OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Requests counts the requests that next answers.
func (m *Metrics) Requests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		m.running.Inc()
		sw := &statusWriter{ResponseWriter: w}
		code := "aborted" // the handler broke the connection off
		defer func() {
			m.running.Dec()
			m.seconds.Observe(time.Since(start).Seconds())
			m.requests.WithLabelValues(method(r.Method), code).Inc()
		}()
		next.ServeHTTP(sw, r)
		code = strconv.Itoa(cmp.Or(sw.status, http.StatusOK))
	})
}

// method keeps a client from making up labels.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Log returns a handler that passes everything on to next, and counts the events among
// it, whatever next's level is: from level info on.
func (m *Metrics) Log(next slog.Handler) slog.Handler { return &counter{m.events, next} }

// events are the counters by the names of the inventory: a line that somebody else has
// worded is none of them.
type events map[string]prometheus.Counter

type counter struct {
	events events
	next   slog.Handler
}

func (c *counter) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || c.next.Enabled(ctx, level)
}

func (c *counter) Handle(ctx context.Context, r slog.Record) error {
	if n, ok := c.events[r.Message]; ok && r.Level >= slog.LevelInfo {
		n.Inc()
	}
	if !c.next.Enabled(ctx, r.Level) {
		return nil
	}
	return c.next.Handle(ctx, r)
}

func (c *counter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &counter{c.events, c.next.WithAttrs(attrs)}
}

func (c *counter) WithGroup(name string) slog.Handler {
	return &counter{c.events, c.next.WithGroup(name)}
}

// Keys is what is known of the keys.
type Keys struct {
	Ring     []keyring.KeyInfo
	LastGood time.Time // when their source answered last
	Up       bool      // whether it did the last time it was asked
}

// Keys adds what f says of the keys at each scrape.
func (m *Metrics) Keys(f func() Keys) { m.registry.MustRegister(keys(f)) }

type keys func() Keys

var (
	sourceUp   = prometheus.NewDesc("cloakroom_keys_source_up", "Whether the source of the keys answered the last time it was asked.", nil, nil)
	sourceLast = prometheus.NewDesc("cloakroom_keys_source_last_success_timestamp_seconds", "When it answered last.", nil, nil)
	created    = prometheus.NewDesc("cloakroom_key_created_timestamp_seconds", "When a key was made; 0 where nobody knows.", []string{"key", "state"}, nil)
	until      = prometheus.NewDesc("cloakroom_key_until_timestamp_seconds", "Until when a retiring key is accepted.", []string{"key"}, nil)
)

func (keys) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sourceUp, sourceLast, created, until} {
		ch <- d
	}
}

func (f keys) Collect(ch chan<- prometheus.Metric) {
	k := f()
	up := 0.0
	if k.Up {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(sourceUp, prometheus.GaugeValue, up)
	ch <- prometheus.MustNewConstMetric(sourceLast, prometheus.GaugeValue, unix(k.LastGood))
	for _, i := range k.Ring {
		ch <- prometheus.MustNewConstMetric(created, prometheus.GaugeValue, unix(i.Created), i.ID.String(), i.State.String())
		if i.State == keyring.Retiring {
			ch <- prometheus.MustNewConstMetric(until, prometheus.GaugeValue, unix(i.Until), i.ID.String())
		}
	}
}

// Up adds a gauge that is 1 while f returns true: whether the store of this name answers.
func (m *Metrics) Up(name, help string, f func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		if f() {
			return 1
		}
		return 0
	}))
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
