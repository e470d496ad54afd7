package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// setMaxSessions takes the most sessions that a user may have; 0 is no limit.
func setMaxSessions(c *Config, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1000 {
		return errors.New("not a number from 1 to 1000, or 0 for no limit: write one of these")
	}
	c.MaxSessions = n
	return nil
}

// setReauthAfter takes 1m to 24h: nobody types a password within seconds of the last
// time, and a day is the longest that a session lives by default.
func setReauthAfter(c *Config, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("not a duration: write it like 15m")
	}
	if d < time.Minute || d > 24*time.Hour {
		return errors.New("out of bounds: from 1m to 24h")
	}
	c.ReauthAfter = d
	return nil
}

// Bounds of audit-retention.
const (
	day          = 24 * time.Hour
	minRetention = day
	maxRetention = 3650 * day
)

// setAuditRetention takes a time in days as well, as people count such times; 0 keeps
// entries for ever.
func setAuditRetention(c *Config, text string) error {
	d, err := inDays(text)
	if err != nil {
		return errors.New("not a duration: write it in days, like 400d (a year is 365d)")
	}
	if d != 0 && (d < minRetention || d > maxRetention) {
		return errors.New("out of bounds: from 1d to 3650d, or 0 to keep everything")
	}
	c.AuditRetention = d
	return nil
}

func inDays(text string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		return time.Duration(days) * day, err
	}
	return time.ParseDuration(text)
}

func setPepper(c *Config, text string) (err error) {
	c.Pepper, err = trueOrFalse(text)
	return err
}

// setBannedWords takes words with commas. One of a letter or two would ban nothing
// but itself, and is most likely a slip.
func setBannedWords(c *Config, text string) error {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
			continue
		case !utf8.ValidString(word):
			return errors.New("not UTF-8: write it in UTF-8")
		case utf8.RuneCountInString(word) < 3 || len(word) > 100:
			return errors.New("a word of less than 3 characters or over 100 bytes: write words with commas, as acme,acme-labs")
		}
		c.BannedWords = append(c.BannedWords, word)
	}
	if len(c.BannedWords) > 1000 {
		return errors.New("over 1000 words: leave some out")
	}
	return nil
}
