// riverpeer MODE SECONDS: figures for River that its own `river bench` does not print.
// insert: single client.Insert (own transaction each), C goroutines; many: InsertMany of B; fast: InsertManyFast (COPY) of B;
// work: burn down N no-op jobs, counted by the subscription (so through the completer); both: the same while InsertManyFast
// keeps 75,000 jobs waiting, as `river bench` does, counted after the first three seconds.
// Environment: DATABASE_URL, C (64), B (200), N (300000), MAXW (2000), COOLDOWN_MS (2), POLL_MS (20), CONNS (16), CLIENTS (1).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type Args struct {
	Num  int    `json:"num"`
	Sent int64  `json:"sent"`
	Ref  string `json:"ref"`
}

func (Args) Kind() string { return "noop" }

var lats = struct {
	sync.Mutex
	v []float64
}{}

type Worker struct{ river.WorkerDefaults[Args] }

func (Worker) Work(_ context.Context, j *river.Job[Args]) error {
	if j.Args.Sent != 0 {
		d := float64(time.Now().UnixNano()-j.Args.Sent) / 1e6
		lats.Lock()
		lats.v = append(lats.v, d)
		lats.Unlock()
	}
	return nil
}

func env(k string, d int) int {
	if v, err := strconv.Atoi(os.Getenv(k)); err == nil {
		return v
	}
	return d
}
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx := context.Background()
	mode := os.Args[1]
	secs := 10
	if len(os.Args) > 2 {
		secs, _ = strconv.Atoi(os.Args[2])
	}
	cfg, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	must(err)
	cfg.MaxConns = int32(env("CONNS", 16))
	if mode == "insert" {
		cfg.MaxConns = int32(env("C", 64))
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	must(err)
	drv := riverpgxv5.New(pool)
	mig, err := rivermigrate.New(drv, nil)
	must(err)
	_, err = mig.Migrate(ctx, rivermigrate.DirectionUp, nil)
	must(err)
	_, err = pool.Exec(ctx, "truncate river_job")
	must(err)
	mk := func() *river.Client[pgx.Tx] {
		ws := river.NewWorkers()
		river.AddWorker(ws, &Worker{})
		c, err := river.NewClient(drv, &river.Config{Workers: ws, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
			FetchCooldown: time.Duration(env("COOLDOWN_MS", 2)) * time.Millisecond, FetchPollInterval: time.Duration(env("POLL_MS", 20)) * time.Millisecond,
			Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: env("MAXW", 2000)}}})
		must(err)
		return c
	}
	c := mk()
	b := env("B", 200)
	batch := func() []river.InsertManyParams {
		p := make([]river.InsertManyParams, b)
		for i := range p {
			p[i].Args = Args{Num: i, Ref: "ref-2026-000001"}
		}
		return p
	}
	var n atomic.Int64
	switch mode {
	case "insert", "many", "fast":
		g := env("C", 64)
		if mode != "insert" {
			g = env("C", 4)
		}
		var wg sync.WaitGroup
		t0 := time.Now()
		end := t0.Add(time.Duration(secs) * time.Second)
		for i := 0; i < g; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for time.Now().Before(end) {
					switch mode {
					case "insert":
						_, err := c.Insert(ctx, Args{Num: 1, Ref: "ref-2026-000001"}, nil)
						must(err)
						n.Add(1)
					case "many":
						_, err := c.InsertMany(ctx, batch())
						must(err)
						n.Add(int64(b))
					case "fast":
						_, err := c.InsertManyFast(ctx, batch())
						must(err)
						n.Add(int64(b))
					}
				}
			}()
		}
		wg.Wait()
		fmt.Printf("river %s goroutines=%d batch=%d: %.0f jobs/s\n", mode, g, b, float64(n.Load())/time.Since(t0).Seconds())
	case "work":
		total := env("N", 300000)
		b = 5000
		for i := 0; i < total; i += b {
			_, err := c.InsertManyFast(ctx, batch())
			must(err)
		}
		_, err = pool.Exec(ctx, "vacuum analyze river_job")
		must(err)
		done := make(chan struct{})
		clients := []*river.Client[pgx.Tx]{c}
		for i := 1; i < env("CLIENTS", 1); i++ {
			clients = append(clients, mk())
		}
		for _, cl := range clients {
			ch, _ := cl.SubscribeConfig(&river.SubscribeConfig{ChanSize: total, Kinds: []river.EventKind{river.EventKindJobCompleted}})
			go func() {
				for range ch {
					if n.Add(1) == int64(total) {
						close(done)
					}
				}
			}()
		}
		t0 := time.Now()
		for _, cl := range clients {
			must(cl.Start(ctx))
		}
		<-done
		el := time.Since(t0).Seconds()
		fmt.Printf("river work n=%d maxWorkers=%d clients=%d conns=%d: %.0f jobs/s (%.1f s)\n", total, env("MAXW", 2000), len(clients), cfg.MaxConns, float64(total)/el, el)
		for _, cl := range clients {
			must(cl.Stop(ctx))
		}
	case "both":
		const open = 75000
		b = 5000
		var done atomic.Int64
		ch, _ := c.SubscribeConfig(&river.SubscribeConfig{ChanSize: 4 * open, Kinds: []river.EventKind{river.EventKindJobCompleted}})
		go func() {
			for range ch {
				done.Add(1)
			}
		}()
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if n.Load()-done.Load() >= open {
					time.Sleep(time.Millisecond)
					continue
				}
				_, err := c.InsertManyFast(ctx, batch())
				must(err)
				n.Add(int64(b))
			}
		}()
		must(c.Start(ctx))
		time.Sleep(3 * time.Second)
		t0, before := time.Now(), done.Load()
		time.Sleep(time.Duration(secs) * time.Second)
		rate := float64(done.Load()-before) / time.Since(t0).Seconds()
		close(stop)
		fmt.Printf("river both maxWorkers=%d conns=%d: %.0f jobs/s\n", env("MAXW", 2000), cfg.MaxConns, rate)
		os.Exit(0) // what still waits is dropped with its database
	case "latency": // one job at a time on an idle system: insert committed -> Work entered
		must(c.Start(ctx))
		time.Sleep(time.Second)
		for i := 0; i < 500; i++ {
			_, err := c.Insert(ctx, Args{Num: i, Sent: time.Now().UnixNano()}, nil)
			must(err)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		must(c.Stop(ctx))
		sort.Float64s(lats.v)
		fmt.Printf("river latency insert call -> work start: n=%d p50 %.1f ms p99 %.1f ms\n", len(lats.v), lats.v[len(lats.v)/2], lats.v[len(lats.v)*99/100])
	}
}
