package sqlusers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"

	"github.com/cloakroom-dev/cloakroom/auth"
)

// Account is a user as administration sees one.
type Account struct {
	auth.User        // Password is empty: a page has no use for it
	Canonical string // the name in the form that is unique
	Created   time.Time
	Updated   time.Time // last change of name, password, roles, epoch or state

	HasPassword bool      // a password can be right
	Link        LinkKind  // the kind of the link that waits to be used; "" for none
	LinkUntil   time.Time // when it expires, or has; zero without a link
}

// Filter chooses accounts. The zero value chooses all of them; what is set narrows
// the choice further.
type Filter struct {
	// Text is a part of the name, in any spelling: "Bob" finds "bob", as "ＢＯＢ"
	// does. No sign in it stands for another; blanks around it do not count.
	Text string

	// Prefix says that names begin with Text. Such a page is read from the index.
	Prefix bool

	// Role is a role that the accounts have, as it is written. What can be none
	// finds nobody.
	Role string

	Enabled    bool // only those who are enabled
	Disabled   bool // only those who are disabled
	MustChange bool // only those who are to change their password
	NoPassword bool // only those whom no password lets in: invited, not yet come
}

// List returns up to n accounts in the order of their canonical names, those
// behind after: it is Search without a filter.
func (u *Users) List(ctx context.Context, after string, n int) ([]Account, error) {
	return u.Search(ctx, Filter{}, after, n)
}

// Search returns up to n of the accounts that f chooses, in the order of their
// canonical names, those behind after; "" starts, and the Canonical of the last
// account goes on. Fewer than n say that there are no more.
//
// A page costs what is on it, however many accounts there are, by itself and with
// Prefix, Enabled, Disabled, MustChange or the role [Admin]. A part of the name,
// another role and NoPassword are looked for in one account after the other until
// the page is full: among 100,000 that takes some hundredths of a second, or a few
// tenths where there is nobody to be found.
func (u *Users) Search(ctx context.Context, f Filter, after string, n int) ([]Account, error) {
	if n <= 0 || f.Role != "" && !validRole(f.Role) || !utf8.ValidString(f.Text) {
		return nil, nil // nobody: names are UTF-8
	}
	query, args := u.filter(f, after)
	rows, err := u.db.Reader().QueryContext(ctx, query, append(args, n)...)
	if err != nil {
		return nil, fmt.Errorf("sqlusers: search users: %w", err)
	}
	defer rows.Close()
	var list []Account
	for rows.Next() {
		a, err := scanAccount(rows)
		if err != nil {
			return nil, fmt.Errorf("sqlusers: search users: %w", err)
		}
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlusers: search users: %w", err)
	}
	return list, nil
}

// Account returns the account with this ID, or [auth.ErrNoUser].
func (u *Users) Account(ctx context.Context, id string) (Account, error) {
	a, err := scanAccount(u.db.Reader().QueryRowContext(ctx, u.sql.account, []byte(id)))
	if errors.Is(err, sql.ErrNoRows) {
		err = auth.ErrNoUser
	}
	if err != nil {
		return Account{}, fmt.Errorf("sqlusers: find an account: %w", err)
	}
	return a, nil
}

// filter returns the statement of a search and its arguments but the last one,
// which is the number of rows. Texts only ever become arguments, so that there are
// a few dozen statements, and the database knows each again.
func (u *Users) filter(f Filter, after string) (query string, args []any) {
	d := u.db.Dialect()
	text := searchText(f.Text)

	// The names lie between two bounds. Behind after comes first what is longer by
	// a zero; 0xff is in no UTF-8.
	from, to := "", "\xff"
	if after != "" {
		from = after + "\x00"
	}
	if f.Prefix {
		from, to = max(from, text), text+"\xff"
	}
	args = []any{[]byte(from), []byte(to)}
	var b strings.Builder
	b.WriteString(u.sql.search)
	if text != "" && !f.Prefix {
		b.WriteString(" AND " + d.Find("canonical") + " > 0")
		args = append(args, []byte(text))
	}
	switch f.Role {
	case "":
	case Admin:
		b.WriteString(" AND admin = 1")
	default:
		// As encodeRoles writes it: no role has a sign that JSON would escape.
		b.WriteString(" AND " + d.Find("roles") + " > 0")
		args = append(args, []byte(`"`+f.Role+`"`))
	}
	if f.Enabled {
		b.WriteString(" AND disabled = 0")
	}
	if f.Disabled {
		b.WriteString(" AND disabled = 1")
	}
	if f.MustChange {
		b.WriteString(" AND must_change = 1")
	}
	if f.NoPassword {
		b.WriteString(" AND length(password) = 0")
	}
	b.WriteString(" ORDER BY canonical LIMIT ?")
	return d.SQL(b.String()), args
}

// searchText brings a part of a name into the form that the part has in a canonical
// name, as far as that can be said of a part: it may be none by itself.
func searchText(text string) string {
	text = strings.TrimSpace(text)
	if canonical, err := auth.CanonicalName(text); err == nil {
		return canonical
	}
	lower := cases.Lower(language.Und, cases.HandleFinalSigma(false))
	return norm.NFC.String(lower.String(width.Fold.String(text)))
}

// scanAccount reads one row of account or search.
func scanAccount(row interface{ Scan(...any) error }) (Account, error) {
	var (
		a                       Account
		roles                   []byte
		kind                    int
		created, updated, until int64
	)
	err := row.Scan(&a.ID, &a.Name, &roles, &a.Epoch, &a.Disabled, &a.MustChange, &a.Canonical, &created, &updated,
		&a.HasPassword, &kind, &until)
	if err != nil {
		return Account{}, err
	}
	if a.Roles, err = decodeRoles(roles); err != nil {
		return Account{}, err
	}
	a.Created, a.Updated = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	if a.Link = kindOf(kind); a.Link != "" {
		a.LinkUntil = time.UnixMilli(until).UTC()
	}
	return a, nil
}
