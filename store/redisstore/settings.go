package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Settings are what decides whether a server keeps what it acknowledges; the package
// comment says what each means. What the server does not say is empty or zero.
type Settings struct {
	AppendOnly  bool   // appendonly
	AppendFsync string // appendfsync, "" where the user may not ask (CONFIG GET)
	Save        string // save: when snapshots are taken, "" for never or not known

	MaxMemory, UsedMemory int64  // in bytes; MaxMemory 0 for no limit
	MaxMemoryPolicy       string // maxmemory-policy
	Evicted               int64  // keys that were evicted since the server started

	Replica       bool  // it follows a primary, and takes no writes
	Replicas      int64 // how many follow it
	MinReplicas   int64 // min-replicas-to-write
	WriteFailed   bool  // the last write to the disk failed
	ConfigVisible bool  // the user may ask for all of these
}

// Settings asks the server how it is set. The user needs the command INFO for it,
// and CONFIG GET for some of the answers; [ACL] grants neither.
func (s *Store) Settings(ctx context.Context) (Settings, error) {
	c := s.conns[0]
	m, err := c.do(ctx, c.client.B().Info().Build())
	text, terr := m.ToString()
	if err == nil {
		err = terr
	}
	if err != nil {
		return Settings{}, fmt.Errorf("redisstore: settings: %w", err)
	}
	info := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	number := func(name string) int64 { n, _ := strconv.ParseInt(info[name], 10, 64); return n }
	set := Settings{
		AppendOnly: info["aof_enabled"] == "1",
		MaxMemory:  number("maxmemory"), UsedMemory: number("used_memory"),
		MaxMemoryPolicy: info["maxmemory_policy"], Evicted: number("evicted_keys"),
		Replica: info["role"] == "slave", Replicas: number("connected_slaves"),
		WriteFailed: info["aof_last_write_status"] == "err" || info["rdb_last_bgsave_status"] == "err",
	}
	m, err = c.do(ctx, c.client.B().ConfigGet().Parameter("appendfsync", "save", "min-replicas-to-write").Build())
	if _, refused := rueidis.IsRedisErr(err); refused {
		return set, nil
	}
	config, cerr := m.AsStrMap()
	if err == nil {
		err = cerr
	}
	if err != nil {
		return set, fmt.Errorf("redisstore: settings: %w", err)
	}
	set.AppendFsync, set.Save, set.ConfigVisible = config["appendfsync"], config["save"], true
	set.MinReplicas, _ = strconv.ParseInt(config["min-replicas-to-write"], 10, 64)
	return set, nil
}

// Clock returns the time by the server's clock.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	c := s.conns[0]
	m, err := c.do(ctx, c.client.B().Time().Build())
	parts, terr := m.AsStrSlice()
	if err == nil {
		err = terr
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("redisstore: clock: %w", err)
	}
	var n [2]int64
	for i := range min(len(parts), 2) {
		n[i], _ = strconv.ParseInt(parts[i], 10, 64)
	}
	return time.Unix(n[0], n[1]*1000), nil
}
