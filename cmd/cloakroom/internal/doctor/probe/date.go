package probe

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// isAddress reports an IP address, which has no parent domain.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// cookieDate reads the date of a cookie, in whatever order and with whatever between
// its parts (RFC 6265bis §5.1.1).
func cookieDate(s string) (time.Time, bool) {
	var clock, day, month, year = "", 0, 0, -1
	for _, token := range strings.FieldsFunc(s, isDelimiter) {
		n, digits := leading(token)
		switch {
		case clock == "" && strings.Count(token, ":") == 2:
			clock = token
		case day == 0 && (digits == 1 || digits == 2):
			day = n
		case month == 0 && len(token) >= 3 && monthOf(token) > 0:
			month = monthOf(token)
		case year < 0 && digits >= 2 && digits <= 4:
			year = n
		}
	}
	switch {
	case year >= 70 && year <= 99:
		year += 1900
	case year >= 0 && year <= 69:
		year += 2000
	}
	parts := strings.Split(clock, ":")
	if len(parts) != 3 || day < 1 || day > 31 || month == 0 || year < 1601 {
		return time.Time{}, false
	}
	var at [3]int
	for i, part := range parts {
		n, digits := leading(part)
		if digits == 0 || digits > 2 || n > 59 || i == 0 && n > 23 {
			return time.Time{}, false
		}
		at[i] = n
	}
	t := time.Date(year, time.Month(month), day, at[0], at[1], at[2], 0, time.UTC)
	return t, t.Day() == day // the 31st of a month that has 30 is no date
}

func isDelimiter(r rune) bool {
	return r != ':' && (r <= '/' || ';' <= r && r <= '@' || '[' <= r && r <= '`' || '{' <= r && r <= '~')
}

// leading returns the number that a token begins with, and how many digits it has.
func leading(token string) (n, digits int) {
	for digits < len(token) && '0' <= token[digits] && token[digits] <= '9' {
		digits++
	}
	n, _ = strconv.Atoi(token[:min(digits, 9)])
	return n, digits
}

func monthOf(token string) int {
	const months = "janfebmaraprmayjunjulaugsepoctnovdec"
	i := strings.Index(months, strings.ToLower(token[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}
