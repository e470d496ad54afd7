package memstore

import "math/bits"

// pageSize is how many buckets are allocated, and given back, at a time.
const pageSize = 64

// A table is a hash table with chains by linear hashing (Litwin, VLDB 1980): it
// grows by splitting one bucket and shrinks by merging two, so that no call ever
// pays for moving everything, and what a flood of sessions took is given back.
// Go's map does the first and not the second: it keeps its greatest size for
// good, and a copy into a smaller one would stop its shard.
//
// The zero value is an empty table. It does no locking.
type table[T any, P chained[T]] struct {
	pages   []*[pageSize]P
	buckets int
	n       int
}

// chained is what a table's elements bring along: their hash, and the link of
// their chain.
type chained[T any] interface {
	*T
	hash() uint64
	chain() **T
}

// index returns the bucket of h. The buckets from 0 to the greatest power of
// two are told apart by that many low bits of the hash; those that have been
// split already by one bit more.
func (t *table[T, P]) index(h uint64) int {
	whole := 1 << (bits.Len(uint(t.buckets)) - 1)
	i := int(h & uint64(2*whole-1))
	if i >= t.buckets {
		i -= whole
	}
	return i
}

// at returns the head of a bucket.
func (t *table[T, P]) at(i int) *P { return &t.pages[i/pageSize][i%pageSize] }

// first returns the first element of the chain in which one with the hash h
// would be, or nil.
func (t *table[T, P]) first(h uint64) P {
	if t.buckets == 0 {
		return nil
	}
	return *t.at(t.index(h))
}

// insert puts in an element that is not there yet.
func (t *table[T, P]) insert(p P) {
	if t.buckets == 0 {
		t.grow()
	}
	head := t.at(t.index(p.hash()))
	*p.chain() = *head
	*head = p
	t.n++
	t.fit()
}

// remove takes out an element, which is there.
func (t *table[T, P]) remove(p P) {
	head := t.at(t.index(p.hash()))
	if *head == p {
		*head = P(*p.chain())
	} else {
		prev := *head
		for P(*prev.chain()) != p {
			prev = P(*prev.chain())
		}
		*prev.chain() = *p.chain()
	}
	*p.chain() = nil
	t.n--
	t.fit()
}

// fit brings the number of buckets in line with that of elements. Between its
// bounds, 3/8 and 3/4 of an element a bucket, nothing moves to and fro; behind an
// insert it splits at most two buckets, behind a remove it merges at most three.
func (t *table[T, P]) fit() {
	for 4*t.n > 3*t.buckets {
		t.grow()
	}
	for 8*t.n < 3*t.buckets {
		t.shrink()
	}
}

// grow adds one bucket and fills it from the one that it splits.
func (t *table[T, P]) grow() {
	added := t.buckets
	if added%pageSize == 0 {
		t.pages = append(t.pages, new([pageSize]P))
	}
	t.buckets++
	if added == 0 {
		return
	}
	from := t.at(added - 1<<(bits.Len(uint(added))-1))
	p := *from
	*from = nil
	for p != nil {
		next := P(*p.chain())
		head := t.at(t.index(p.hash()))
		*p.chain() = *head
		*head = p
		p = next
	}
}

// shrink takes the last bucket away and gives its chain to the one that it was
// once split from.
func (t *table[T, P]) shrink() {
	last := t.buckets - 1
	if p := *t.at(last); p != nil {
		into := t.at(last - 1<<(bits.Len(uint(last))-1))
		end := p
		for *end.chain() != nil {
			end = P(*end.chain())
		}
		*end.chain() = *into
		*into = p
		*t.at(last) = nil
	}
	t.buckets = last
	if last%pageSize == 0 {
		t.pages[last/pageSize] = nil
		t.pages = t.pages[:last/pageSize]
	}
	if last == 0 {
		t.pages = nil
	}
}

// walk returns the first element of the bucket that holds the reversed hash x,
// and the lowest reversed hash behind that bucket, 0 after the last one.
//
// A bucket holds the hashes that agree in their low bits. Seen in reverse these
// are the high bits, so a bucket is a range of reversed hashes, splitting halves
// a range, and merging joins two. A walk by x therefore meets every element that
// stays in the table, however the table grows and shrinks between two steps; it
// may meet one twice.
func (t *table[T, P]) walk(x uint64) (first P, next uint64) {
	if t.buckets == 0 {
		return nil, 0
	}
	depth := bits.Len(uint(t.buckets)) - 1
	i := t.index(bits.Reverse64(x))
	if i&(1<<depth-1)+1<<depth < t.buckets {
		depth++ // it has been split
	}
	return *t.at(i), (x>>(64-depth) + 1) << (64 - depth)
}
