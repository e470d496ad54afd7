package vault

import "time"

// SetClock gives the source another clock.
func SetClock(s *Source, now func() time.Time) { s.now = now }

// Parse reads an answer of the server, and returns the field of the secret in it.
func Parse(status int, body []byte, field string) ([]byte, error) {
	a := &answer{status, body}
	if f := a.fault(); f != nil {
		return nil, f
	}
	sec, err := new(Source).parse(a)
	if err != nil {
		return nil, err
	}
	return sec.text(field)
}
