package auditlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// row is an entry as the table has it.
type row struct {
	Entry
	details []byte // JSON, as it is hashed
	batch   []byte // of the transaction that wrote it
	key     []byte // the ID of the key of the tag; empty without
	hash    []byte // of this row and the hash before it
	tag     []byte // HMAC of hash; empty without a key
	odd     bool   // as read: some column is not as this package writes it
}

// digest returns the hash that row must have behind prev. Every column is in it but
// those two that follow from it: what is not hashed could be changed unnoticed.
func (r *row) digest(prev []byte) []byte {
	b := append([]byte("cloakroom audit log\x00\x01"), byte(len(prev)))
	b = append(b, prev...)
	for _, n := range []int64{r.Seq, r.Time.UnixMilli(), int64(r.Count), number(r.Suspicious)} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, s := range []string{r.Kind, r.User, r.Account, r.Actor, r.Name, r.Addr, r.Session, r.Request, r.Reason,
		string(r.details), string(r.batch), string(r.key)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// chain signs and verifies. Without a ring it does neither.
type chain struct {
	ring    *keyring.Ring
	purpose *keyring.Purpose
}

func newChain(ring *keyring.Ring) chain {
	if ring == nil {
		return chain{}
	}
	return chain{ring, ring.Purpose("audit log")}
}

// seal sets the hash of a row behind prev, and its tag.
func (c chain) seal(r *row, prev []byte) {
	if c.ring == nil {
		r.key, r.tag = []byte{}, []byte{}
		r.hash = r.digest(prev)
		return
	}
	// The key's ID is part of what it signs, and the ring may change in between.
	for id := c.ring.Active(); ; {
		r.key = id[:]
		r.hash = r.digest(prev)
		by, tag := c.purpose.Sign(r.hash)
		if by == id {
			r.tag = tag[:]
			return
		}
		id = by
	}
}

// verdict is what a tag says.
type verdict int

const (
	genuine  verdict = iota
	wrong            // a key at hand did not make it
	unsigned         // there is none
	unknown          // the key is not at hand, or has retired
)

// judge looks at the tag of a row whose hash is right.
func (c chain) judge(r *row) verdict {
	switch {
	case len(r.key) == 0 && len(r.tag) == 0:
		return unsigned
	case len(r.key) != len(keyring.KeyID{}):
		return wrong
	case c.ring == nil || !c.ring.Accepts(keyring.KeyID(r.key)):
		return unknown
	case len(r.tag) == sha256.Size && c.purpose.Verify(keyring.KeyID(r.key), r.hash, r.tag):
		return genuine
	}
	return wrong
}

// Head is the newest entry of the log: with it noted elsewhere, the removal of
// entries from the end is found as well. The zero Head is that of an empty log.
type Head struct {
	Seq  int64
	Hash []byte
}

// String returns the number and the hash in hexadecimal, with a colon between.
func (h Head) String() string { return fmt.Sprintf("%d:%x", h.Seq, h.Hash) }

// ParseHead parses what [Head.String] returned.
func ParseHead(s string) (Head, error) {
	n, sum, _ := strings.Cut(s, ":")
	seq, err := strconv.ParseInt(n, 10, 64)
	hash, err2 := hex.DecodeString(sum)
	if err != nil || err2 != nil || seq < 0 || (seq > 0) != (len(hash) == sha256.Size) || (seq == 0) != (len(hash) == 0) {
		return Head{}, fmt.Errorf("not a number and a hash with a colon between, as verify prints them")
	}
	return Head{seq, hash}, nil
}

type head = Head

func (h Head) same(o Head) bool { return h.Seq == o.Seq && bytes.Equal(h.Hash, o.Hash) }

// encodeDetails returns details as they are stored: sorted by key.
func encodeDetails(m map[string]string) ([]byte, error) {
	if len(m) == 0 {
		return []byte{}, nil
	}
	return json.Marshal(m)
}

func decodeDetails(b []byte) (m map[string]string, err error) {
	if len(b) > 0 {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
