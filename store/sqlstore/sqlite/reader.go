package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// preparer is a handle or a connection that keeps prepared statements.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// prepared keeps a prepared statement for every text: to prepare one costs
// several times what it costs to run one. The texts are the program's own, a few
// dozen, so they are kept until the end.
type prepared struct {
	mu         sync.RWMutex
	statements map[string]*sql.Stmt
}

// get returns the prepared statement of a text.
func (p *prepared) get(ctx context.Context, on preparer, query string) (*sql.Stmt, error) {
	p.mu.RLock()
	s := p.statements[query]
	p.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	s, err := on.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.statements[query]; first != nil {
		s.Close() // two came at once
		return first, nil
	}
	if p.statements == nil {
		p.statements = make(map[string]*sql.Stmt)
	}
	p.statements[query] = s
	return s, nil
}

// close closes the statements. Those of a connection have to be closed before it
// is: SQLite keeps a connection alive as long as it has any.
func (p *prepared) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.statements {
		errs = append(errs, s.Close())
	}
	p.statements = nil
	return errors.Join(errs...)
}

// reader is the read pool.
type reader struct {
	pool *sql.DB
	prepared
}

// newReader opens the pool and one connection of it.
func newReader(path, dsn string, n int) (*reader, error) {
	pool, err := open(path, dsn, n)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(); err != nil {
		pool.Close()
		return nil, describe(path, "open", err)
	}
	return &reader{pool: pool}, nil
}

func (r *reader) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := r.get(ctx, r.pool, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.get(ctx, r.pool, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := r.get(ctx, r.pool, query)
	if err != nil {
		// Only package sql can make a Row of an error: let it meet the same one.
		return r.pool.QueryRowContext(ctx, query, args...)
	}
	return s.QueryRowContext(ctx, args...)
}

// close waits for the reads that have begun.
func (r *reader) close() error { return errors.Join(r.prepared.close(), r.pool.Close()) }
