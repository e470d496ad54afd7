package keyring

import (
	"crypto/sha256"
	"crypto/sha512"
	_ "embed" // the list
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
)

//go:embed samples.txt
var sampleText string

// samplePhrases are the secrets that guides, READMEs and default settings show.
var samplePhrases = sync.OnceValue(func() []string {
	phrases := []string{""}
	for line := range strings.Lines(sampleText) {
		if line[0] != '#' {
			phrases = append(phrases, strings.TrimSuffix(line, "\n"))
		}
	}
	return phrases
})

// sampleSecrets are 32 bytes from guides, tools and test vectors that do not look like
// a sample. Those of guides stand in many a program.
var sampleSecrets = []string{
	"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", // FastAPI, tutorial of OAuth2 with JWT
	"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", // Flask, quickstart, sessions
	"3cfa76ef14937c1c0ea519f8fc057a80fcd04a7420f8e8bcd0a7567c272e007b", // Spring Boot, tutorials of JWT
	"d9f97e2adbe47e5f85bb3e10a7f03be46d914e259503f668299be9e9f8a2335d", // Laravel, configuration of tests
	"730ff4c7af3d46923e8ed451ee813c87f790b0a226bc96a92de49b5e9c05e1ee", // Fernet, specification
	"f351ea0ed6ea032c0a48eba64a16b706158d39d436eac953e8ad18699799c8fb", // Airflow, images and charts
	"e3a04a26841894f3ce7b1ab43a10d99c894d7a92857fced61702db7f3a830e1a", // the same
	"ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80", // Hardhat and Anvil, first account
	"4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d", // Ganache, first account
	"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", // NIST SP 800-38A, AES-256
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", // RFC 8032 §7.1, first secret key
	"0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebf", // RFC 7515 §A.1, first half of the key
}

// isSample tells whether a secret is known to the world.
func isSample(secret *[secretSize]byte) bool {
	_, found := slices.BinarySearch(samples(), binary.BigEndian.Uint64(secret[:]))
	return found
}

// isSamplePhrase tells whether a text is a sample as it stands, in whatever case.
func isSamplePhrase(text string) bool {
	return slices.ContainsFunc(samplePhrases(), func(p string) bool { return len(p) == len(text) && strings.EqualFold(p, text) })
}

// samples returns the first eight bytes of all secrets that are known to the world,
// in order. A phrase itself is text and refused as such; here stand the forms which
// hide that: its hashes, also with the line end that a shell adds.
var samples = sync.OnceValue(func() []uint64 {
	phrases := samplePhrases()
	known := make([]uint64, 0, 5*len(phrases))
	add := func(b []byte) {
		secret := condense(b)
		known = append(known, binary.BigEndian.Uint64(secret[:]))
	}
	for _, phrase := range phrases {
		s256, line := sha256.Sum256([]byte(phrase)), sha256.Sum256([]byte(phrase+"\n"))
		s384, s512 := sha512.Sum384([]byte(phrase)), sha512.Sum512([]byte(phrase))
		add(s256[:])
		add(line[:])
		add(s384[:])
		add(s512[:])
	}
	for _, s := range sampleSecrets {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic("keyring: sample secret: " + err.Error())
		}
		add(b)
	}
	slices.Sort(known)
	return known
})
