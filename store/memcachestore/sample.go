package memcachestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Size is how large a session is.
type Size struct {
	Created    time.Time
	Info, Data int // in bytes
}

// The bounds of a sample, for each server.
const (
	sampleItems = 50_000   // that are walked, ours and others'
	sampleBytes = 16 << 20 // of sessions that are read
	sampleBatch = 16       // sessions that are asked for at once
	sampleLine  = 1 << 10  // the longest line; a key is written with up to three bytes for one
	sampleItem  = 2 << 20  // what is larger is none of a server that is set as the package comment says
)

// errSample says that a server does not answer as Memcached does.
var errSample = errors.New("the server does not answer as Memcached 1.6 does")

// CheckSizes returns the sizes of up to n sessions on the servers of a URL, which are
// connected to for this alone: as many on each, drawn by lot from the first 50,000 items
// that the server names (lru_crawler metadump, which holds nobody up). They are read
// whole, 16 MiB at most on each server, as the protocol knows no part of an item; being
// read counts as no use of them. What was found before an error is returned beside it.
//
// A server before 1.6, and one with the crawler turned off (-o no_lru_crawler), is an
// error.
func CheckSizes(ctx context.Context, url string, opts *Options, n int) ([]Size, error) {
	c, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	var list []Size
	for _, a := range c.addrs {
		keys, err := c.sessionKeys(ctx, a, (n+len(c.addrs)-1)/len(c.addrs))
		if err == nil {
			var sizes []Size
			sizes, err = c.sizes(ctx, a, keys)
			list = append(list, sizes...)
		}
		if err != nil {
			return list, fmt.Errorf("memcachestore: %s: %w", a.addr, err)
		}
	}
	return list, nil
}

// ask opens a connection to a server for f, which ends with ctx.
func (c *config) ask(ctx context.Context, a address, f func(nc net.Conn, r *bufio.Reader) error) error {
	nc, err := c.dialer(a)(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(past) })()
	if err := f(nc, bufio.NewReaderSize(nc, sampleLine)); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// sessionKeys draws up to n keys of sessions. What the server had to say beyond the
// bounds it is spared, as the connection is closed.
func (c *config) sessionKeys(ctx context.Context, a address, n int) (keys []string, err error) {
	err = c.ask(ctx, a, func(nc net.Conn, r *bufio.Reader) error {
		for {
			busy, err := c.dump(nc, r, n, &keys)
			if err != nil || !busy {
				return err
			}
			select { // its crawler also tidies up
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	// An item that the server moves meanwhile is named again, or not at all.
	slices.Sort(keys)
	return slices.Compact(keys), err
}

// dump reads one metadump; busy says that the server wants to be asked again.
func (c *config) dump(nc net.Conn, r *bufio.Reader, n int, keys *[]string) (busy bool, err error) {
	if _, err := io.WriteString(nc, "lru_crawler metadump all\r\n"); err != nil {
		return false, err
	}
	seen := 0
	for range sampleItems {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		escaped, isKey := strings.CutPrefix(word, "key=")
		switch {
		case word == "END":
			return false, nil
		case word == "BUSY":
			return true, nil
		case !isKey && strings.Contains(rest, "disabled"):
			return false, errors.New("its crawler is turned off (-o no_lru_crawler)")
		case !isKey:
			return false, errSample
		}
		// Others' keys may have anything in them, line ends and commands too: what is
		// asked for below is an ID and nothing else.
		key, err := url.PathUnescape(escaped)
		id, ours := strings.CutPrefix(key, c.prefix+":s:")
		if _, wrong := store.ParseID(id); err != nil || wrong != nil || !ours {
			continue
		}
		// Every key has the same chance, however many come (reservoir sampling).
		if seen++; len(*keys) < n {
			*keys = append(*keys, key)
		} else if i := rand.IntN(seen); i < n {
			(*keys)[i] = key
		}
	}
	return false, nil
}

// sizes reads what stands under some keys.
func (c *config) sizes(ctx context.Context, a address, keys []string) (list []Size, err error) {
	err = c.ask(ctx, a, func(nc net.Conn, r *bufio.Reader) error {
		room := sampleBytes
		for part := range slices.Chunk(keys, sampleBatch) {
			var question strings.Builder
			for _, key := range part {
				question.WriteString("mg " + key + " v u\r\n") // u: it is no use of the item
			}
			if _, err := io.WriteString(nc, question.String()); err != nil {
				return err
			}
			for _, key := range part {
				value, err := readValue(r)
				if err != nil {
					return err
				}
				if size, ok := c.sizeOf(key, value); ok {
					list = append(list, size)
				}
				room -= len(value)
			}
			if room < 0 {
				return nil
			}
		}
		return nil
	})
	return list, err
}

// readValue reads the answer to mg; nil says that there is no such item any more.
func readValue(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(line))
	if len(f) == 1 && f[0] == "EN" {
		return nil, nil
	}
	if len(f) < 2 || f[0] != "VA" {
		return nil, errSample
	}
	n, err := strconv.Atoi(f[1])
	if err != nil || n < 0 || n > sampleItem {
		return nil, errSample
	}
	value := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(r, value); err != nil {
		return nil, err
	}
	return value[:n], nil
}

// sizeOf returns the size of a session; ok is false for a tombstone and for what is none
// of ours.
func (c *config) sizeOf(key string, value []byte) (size Size, ok bool) {
	id, err := store.ParseID(strings.TrimPrefix(key, c.prefix+":s:"))
	if err != nil {
		return Size{}, false
	}
	e, err := decodeSession(id, value)
	if err != nil || e.ended() {
		return Size{}, false
	}
	return Size{Created: e.Created, Info: len(e.Info), Data: len(e.Data)}, true
}
