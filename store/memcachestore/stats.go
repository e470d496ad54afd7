package memcachestore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Stats is what a server says about itself that bears on what it forgets; the package
// comment says what each means.
type Stats struct {
	Addr            string
	Bytes, MaxBytes int64 // used, and the most (memcached -m)
	Evictions       int64 // items that were thrown out since the server started
	ItemSizeMax     int64 // memcached -I
	RefusesWhenFull bool  // memcached -M
	HasCAS          bool  // without memcached -C
	Uptime          time.Duration
	RoundTrip       time.Duration // of one question
}

// CheckStats asks every server of a URL, which are connected to for this alone.
func CheckStats(ctx context.Context, url string, opts *Options) ([]Stats, error) {
	c, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	var list []Stats
	for _, a := range c.addrs {
		s, err := c.stats(ctx, a)
		if err != nil {
			return list, fmt.Errorf("memcachestore: %s: %w", a.addr, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func (c *config) stats(ctx context.Context, a address) (Stats, error) {
	nc, err := c.dialer(a)(ctx)
	if err != nil {
		return Stats{}, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(past) })()
	r := bufio.NewReader(io.LimitReader(nc, 1<<20))
	s := Stats{Addr: a.addr}
	ask := func(command string) (map[string]string, error) {
		if _, err := io.WriteString(nc, command+"\r\n"); err != nil {
			return nil, err
		}
		answer := make(map[string]string)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return nil, err
			}
			f := strings.Fields(line)
			if len(f) < 3 || f[0] != "STAT" {
				return answer, nil
			}
			answer[f[1]] = f[2]
		}
	}
	now, err := ask("stats")
	if err != nil {
		return s, err
	}
	set, err := ask("stats settings")
	if err != nil {
		return s, err
	}
	start := time.Now()
	if _, err := ask("version"); err != nil {
		return s, err
	}
	s.RoundTrip = time.Since(start)
	number := func(m map[string]string, name string) int64 { n, _ := strconv.ParseInt(m[name], 10, 64); return n }
	s.Bytes, s.MaxBytes, s.Evictions = number(now, "bytes"), number(now, "limit_maxbytes"), number(now, "evictions")
	s.Uptime = time.Duration(number(now, "uptime")) * time.Second
	s.ItemSizeMax = number(set, "item_size_max")
	s.RefusesWhenFull = set["evictions"] == "off"
	s.HasCAS = set["cas_enabled"] != "no"
	return s, nil
}
