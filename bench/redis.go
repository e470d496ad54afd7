package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// What a page may take over the raw calls of the same client.
const (
	redisReadOverRaw  = 1.15
	redisWriteOverRaw = 1.25 // a request that writes has read before
)

// rawCAS is the least that a conditional write can be: the stored version is
// compared, and the value replaced.
const rawCAS = `local v = redis.call('GETRANGE', KEYS[1], 0, 7)
if v ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'KEEPTTL')
return 1`

// redis measures reading and writing one value with sessions in Redis, on the
// loopback, one request after the other. The floor is the raw calls of the
// client that Cloakroom uses, without a request around them.
func redis(c config) ([]line, error) {
	server, err := services.Find(services.RedisKind)
	if err != nil {
		return nil, fmt.Errorf("no Redis: start with make bench: %w", err)
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Addr()}, Password: server.Password, ForceSingleClient: true,
		PipelineMultiplex: -1, AlwaysPipelining: true, MaxFlushDelay: 20 * time.Microsecond,
		DisableRetry: true, DisableCache: true,
		Dialer: net.Dialer{Timeout: time.Second},
	})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	peer := goredis.NewClient(&goredis.Options{Addr: server.Addr(), Password: server.Password})
	defer peer.Close()

	st, err := redisstore.New(client, &redisstore.Options{Prefix: "bench:"})
	if err != nil {
		return nil, err
	}
	var n atomic.Int64
	next := func() int { return int(n.Add(1)) }
	ours, err := cloakroomApp(st, next)
	if err != nil {
		return nil, err
	}
	idle := scsApp(newSCS(goredisstore.New(peer), 30*time.Minute), next)
	idle.name = "scs, idle timeout"
	apps := []app{ours, scsApp(newSCS(goredisstore.New(peer), 0), next), idle}

	get, getAndSet, err := rawCalls(client)
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, crowd := range []struct {
		size int
		name string
	}{{1, "one visitor"}, {32, "32 visitors at once"}} {
		read, err := besideRaw(c, crowd.size, "Redis, read, "+crowd.name, contestant{"a raw GET", get}, redisReadOverRaw,
			apps, "GET", func(a app) http.Handler { return a.read })
		if err != nil {
			return nil, err
		}
		write, err := besideRaw(c, crowd.size, "Redis, write, "+crowd.name, contestant{"a raw GET and compare-and-set", getAndSet}, redisWriteOverRaw,
			apps, "POST", func(a app) http.Handler { return a.write })
		if err != nil {
			return nil, err
		}
		lines = append(append(lines, read...), write...)
	}
	return lines, nil
}

// visitsOfACrowd is how often each of several visitors comes between two looks at
// the clock.
const visitsOfACrowd = 4

// crowd makes one operation of many that run at once.
func crowd(ops []func()) func() {
	if len(ops) == 1 {
		return ops[0]
	}
	return func() {
		var wg sync.WaitGroup
		for _, op := range ops {
			wg.Go(func() {
				for range visitsOfACrowd {
					op()
				}
			})
		}
		wg.Wait()
	}
}

// rawCalls returns what a read and a write of a session are without a session: one
// raw call, and two. The value is as long as a stored session.
func rawCalls(client rueidis.Client) (get, getAndSet func(), err error) {
	ctx := context.Background()
	const key, version = "bench:raw", "12345678"
	value := strings.Repeat("x", 300)
	if err := client.Do(ctx, client.B().Set().Key(key).Value(version+value).Build()).Error(); err != nil {
		return nil, nil, err
	}
	script := rueidis.NewLuaScript(rawCAS)
	get = func() {
		if _, err := client.Do(ctx, client.B().Get().Key(key).Build()).AsBytes(); err != nil {
			panic(err)
		}
	}
	getAndSet = func() {
		get()
		if n, err := script.Exec(ctx, client, []string{key}, []string{version, value}).AsInt64(); n != 1 || err != nil {
			panic(fmt.Sprint(n, err))
		}
	}
	return get, getAndSet, nil
}

// perVisit turns what a crowd took into what each visit took.
func perVisit(r []result, visits float64) {
	for i := range r {
		for j := range r[i].ns {
			r[i].ns[j] /= visits
			r[i].allocs[j] /= visits
		}
	}
}

// besideRaw measures one page of each program beside a raw call, by the clock on
// the wall: what counts here is waiting.
func besideRaw(c config, size int, what string, raw contestant, goal float64, apps []app, method string, page func(app) http.Handler) ([]line, error) {
	all := []contestant{{raw.name, crowd(slices.Repeat([]func(){raw.op}, size))}}
	for _, a := range apps {
		var visits []func()
		for range size {
			cookie, err := a.enter()
			if err != nil {
				return nil, err
			}
			v := newVisitor(page(a), method, cookie)
			if err := v.check(); err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			visits = append(visits, v.visit)
		}
		all = append(all, contestant{a.name, crowd(visits)})
	}
	began := time.Now()
	r := measureBy(func() time.Duration { return time.Since(began) }, c, all)
	if size > 1 {
		perVisit(r, float64(size*visitsOfACrowd))
	}
	lines := beside(what, r, 0, 0)
	over := r[1].over(r[0])
	lines[0].goal = fmt.Sprintf("≤ %s × %s", digits(goal), raw.name)
	lines[0].holds = yes(over <= goal)
	return lines, nil
}
