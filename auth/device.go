package auth

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"slices"
	"time"
)

// deviceCookie is the name of the cookie of known devices, before its prefix.
const deviceCookie = "device"

// Bounds of the cookie of known devices.
const (
	// deviceLifetime is how long a browser is known after the last login.
	deviceLifetime = 180 * 24 * time.Hour

	// maxDeviceUsers is how many users of one browser it is known for.
	maxDeviceUsers = 8

	// maxDeviceCookies is how many cookies of the name are looked at. A browser
	// sends one, or two where another host has planted one.
	maxDeviceCookies = 4
)

// The cookie's value is the strict base64url without padding of
//
//	salt 16 ‖ sealed: for each user, the one of the last login first:
//	    length of the user's ID, 1 ‖ ID ‖ device 16 ‖ epoch 8 ‖ time in milliseconds since 1970, 8, big-endian
//
// under keyring's seal with a key that is derived with the salt, so that random
// nonces never run out. The device is random and new for each user of each browser:
// it leads from the throttle's rows to nothing. With another epoch of the user the entry
// is void: whoever knew the password has perhaps signed in from a hundred browsers, and
// would have a count of guesses in each when it is changed.
const (
	deviceSaltSize = 16
	deviceIDSize   = 16
	maxDeviceID    = 255 // bytes of a user's ID
	deviceTail     = deviceIDSize + 8 + 8
	maxDeviceValue = ((deviceSaltSize+33+maxDeviceUsers*(1+maxDeviceID+deviceTail))*8 + 5) / 6
)

var deviceEncoding = base64.RawURLEncoding.Strict()

// device is one user's entry in a browser's cookie.
type device struct {
	user  string
	id    [deviceIDSize]byte
	epoch uint64
	seen  time.Time // of the last login
}

// KnowDevice notes that the browser of a request is one of the user's, who has just
// signed in: in a cookie of 180 days that each login renews. Guesses of a password
// from other browsers then do not keep this one out, as it has a count of its own; see
// package throttle. Call it after [Auth.Login] and [Auth.ChangePassword], before anything
// is written: what raises the user's epoch, as a change of the password does, makes all
// browsers of before unknown.
//
// The cookie is no authentication: it signs nobody in and opens no door (NIST SP
// 800-63B-4 §5.1). It is sealed, out of reach of scripts, sent to this site alone, and
// holds the last eight users of the browser. What somebody has made, changed, copied
// from another user or kept beyond its time counts as none. Who has copied it has that
// count, and as few attempts in it as everybody has elsewhere. It is set only where it
// fits, which a user ID of over 255 bytes does not.
func (a *Auth) KnowDevice(w http.ResponseWriter, r *http.Request, u User) {
	if u.ID == "" || len(u.ID) > maxDeviceID {
		return
	}
	now := time.Now()
	known := a.knownDevices(r, now)
	d := device{user: u.ID, epoch: u.Epoch, seen: now}
	// A change of the password has given the session an epoch that u is of before.
	if who := a.m.FromContext(r.Context()).Identity(); who.UserID == u.ID {
		d.epoch = who.Epoch
	}
	rand.Read(d.id[:])
	if i := slices.IndexFunc(known, d.ofUser); i >= 0 {
		if known[i].epoch == d.epoch {
			d.id = known[i].id
		}
		known = slices.Delete(known, i, i+1)
	}
	known = append([]device{d}, known[:min(len(known), maxDeviceUsers-1)]...)
	c := a.m.Cookie(deviceCookie, a.sealDevices(known))
	c.MaxAge = int(deviceLifetime / time.Second)
	if c.SameSite != http.SameSiteNoneMode {
		// As with the cookie of package csrf: no other site has business with it,
		// unless the program lives in frames of others.
		c.SameSite = http.SameSiteStrictMode
	}
	w.Header().Add("Set-Cookie", c.String())
}

// ofUser reports an entry of the same user.
func (d *device) ofUser(o device) bool { return o.user == d.user }

// device returns the name under which the browser of a request is known for a user,
// "" where it is not.
func (a *Auth) device(r *http.Request, u User) string {
	for _, d := range a.knownDevices(r, time.Now()) {
		if u.ID != "" && d.user == u.ID && d.epoch == u.Epoch {
			return hex.EncodeToString(d.id[:])
		}
	}
	return ""
}

// knownDevices returns the entries of a request's cookies that are not too old, the
// one of the last login first, of each user one.
func (a *Auth) knownDevices(r *http.Request, now time.Time) []device {
	var known []device
	for i, c := range r.CookiesNamed(a.deviceName) {
		if i == maxDeviceCookies {
			break
		}
		for _, d := range a.openDevices(c.Value) {
			if now.Sub(d.seen) < deviceLifetime && !slices.ContainsFunc(known, d.ofUser) {
				known = append(known, d)
			}
		}
	}
	slices.SortStableFunc(known, func(a, b device) int { return b.seen.Compare(a.seen) })
	return known
}

// sealDevices makes the cookie's value.
func (a *Auth) sealDevices(known []device) string {
	var plain []byte
	for _, d := range known {
		plain = append(append(plain, byte(len(d.user))), d.user...)
		plain = binary.BigEndian.AppendUint64(append(plain, d.id[:]...), d.epoch)
		plain = binary.BigEndian.AppendUint64(plain, uint64(d.seen.UnixMilli()))
	}
	salt := make([]byte, deviceSaltSize)
	rand.Read(salt)
	return deviceEncoding.EncodeToString(append(salt, a.devices.SealFor(salt, plain, nil)...))
}

// openDevices returns nothing for whatever sealDevices has not made.
func (a *Auth) openDevices(value string) []device {
	if len(value) > maxDeviceValue {
		return nil
	}
	box, err := deviceEncoding.DecodeString(value)
	if err != nil || len(box) < deviceSaltSize {
		return nil
	}
	plain, err := a.devices.OpenFor(box[:deviceSaltSize], box[deviceSaltSize:], nil)
	if err != nil {
		return nil
	}
	var known []device
	for len(plain) > 0 {
		n := int(plain[0])
		if plain = plain[1:]; len(plain) < n+deviceTail {
			return nil
		}
		d := device{user: string(plain[:n])}
		plain = plain[n+copy(d.id[:], plain[n:]):]
		d.epoch, d.seen = binary.BigEndian.Uint64(plain), time.UnixMilli(int64(binary.BigEndian.Uint64(plain[8:])))
		plain = plain[16:]
		known = append(known, d)
	}
	return known
}
