package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/store"
)

// batch is how many sessions one script reads or ends: more would keep the server
// from answering others for milliseconds.
const batch = 500

// ListUser returns a user's live records without their Data; see
// [store.UserStore]. It is one script for each 500 sessions.
func (s *Store) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if err := ctx.Err(); err != nil || userID == "" {
		return nil, err
	}
	name := userKey(userID)
	c := s.userConn(name)
	var (
		list []store.Record
		ids  []string
	)
	for first := true; first || len(ids) > 0; first = false {
		n := min(batch, len(ids))
		args := append([]string{s.prefix + "s:", strconv.Itoa(batch)}, ids[:n]...)
		ids = ids[n:]
		m, err := run(ctx, c, listUserScript, []string{s.indexKey(name)}, args)
		var pairs []rueidis.RedisMessage
		if err == nil {
			pairs, err = m.ToArray()
		}
		if err != nil {
			return nil, s.userError(ctx, "list sessions of a user", err)
		}
		for pair := range slices.Chunk(pairs, 2) {
			r, later, err := s.listed(ctx, userID, pair)
			if err != nil {
				return nil, fmt.Errorf("redisstore: list sessions of a user: %w", err)
			}
			if later != "" {
				ids = append(ids, later)
			} else if !r.ID.IsZero() {
				list = append(list, r)
			}
		}
	}
	return list, nil
}

// listed reads one pair that listUserScript answered: a record, or the ID of one
// to be asked for, or neither for what is no live record of this user.
func (s *Store) listed(ctx context.Context, userID string, pair []rueidis.RedisMessage) (r store.Record, later string, err error) {
	if len(pair) != 2 {
		return r, "", errors.New("the answer of the server has an odd end")
	}
	name, err := pair[0].ToString()
	if err != nil {
		return r, "", err
	}
	value, err := pair[1].AsBytes()
	if err != nil {
		return r, "", err
	}
	if len(value) == 0 {
		return r, name, nil
	}
	id, err := store.ParseID(name)
	if err != nil || len(value) == 1 && value[0] != '0'+answerUnreadable {
		return r, "", nil // not ours, or gone meanwhile
	}
	r, err = decode(id, value)
	switch {
	case err == errFormat: // decode does not wrap it
		_ = s.unreadable(ctx, id, err) // for the log: it is no live session
		return store.Record{}, "", nil
	case err != nil || r.UserID != userID:
		return store.Record{}, "", nil
	}
	r.Data = nil
	return r, "", nil
}

// EndUser ends a user's live sessions but one; see [store.UserStore]. It is one
// script for each 500 sessions, and works on a server that is out of memory too.
func (s *Store) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	tomb, err1 := tombstone(why)
	last, err2 := text(until)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("redisstore: end sessions of a user: %w", err)
	}
	if err := ctx.Err(); err != nil || userID == "" {
		return 0, err
	}
	name := userKey(userID)
	user := name + string(appendUint(nil, uint64(len(userID)), lenUser)) + userID
	args := []string{s.prefix + "s:", except.String(), user, tomb, last, strconv.Itoa(batch)}
	ended := 0
	for {
		m, err := run(ctx, s.userConn(name), endUserScript, []string{s.indexKey(name)}, args)
		var answers []rueidis.RedisMessage
		if err == nil {
			answers, err = m.ToArray()
		}
		if err == nil && len(answers) < 2 {
			err = errors.New("the answer of the server is short")
		}
		if err != nil {
			return ended, s.userError(ctx, "end sessions of a user", err)
		}
		n, err1 := answers[0].AsInt64()
		more, err2 := answers[1].AsInt64()
		if err := errors.Join(err1, err2); err != nil {
			return ended, fmt.Errorf("redisstore: end sessions of a user: %w", err)
		}
		ended += int(n)
		for _, a := range answers[2:] {
			if name, err := a.ToString(); err == nil {
				if id, err := store.ParseID(name); err == nil {
					_ = s.unreadable(ctx, id, errFormat) // for the log: it is a tombstone now
				}
			}
		}
		if more == 0 {
			return ended, nil
		}
	}
}

// userError says what the error of a script about a user's sessions means. An
// index that cannot be read is a log line beside: nobody knows whom it named, so
// nothing may be said of them. The next sign-in begins a new one.
func (s *Store) userError(ctx context.Context, what string, err error) error {
	if isWrongType(err) {
		err = errors.New("the index of the user's sessions cannot be read")
		s.log.LogAttrs(ctx, slog.LevelError, "record_unreadable", slog.String("err", "redisstore: "+err.Error()))
	}
	return fmt.Errorf("redisstore: %s: %w", what, err)
}

// userConn returns the connection for calls about a user. Which one does not
// matter: what was acknowledged on one is seen on all.
func (s *Store) userConn(name string) *conn { return s.conns[int(name[0])%len(s.conns)] }
