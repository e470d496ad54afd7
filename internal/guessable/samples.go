package guessable

import (
	_ "embed" // the list
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

// sampleSecrets are 32 bytes or more from guides, tools and test vectors that do not look like
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
	"59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d", // Hardhat and Anvil, second account
	"4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d", // Ganache, first account
	"b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291", // go-ethereum, tests
	"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", // NIST SP 800-38A, AES-256
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", // RFC 8032 §7.1, first secret key
	"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", // the second
	"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", // the third
	"f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5", // that of 1024 bytes
	"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42", // that of SHA(abc)
	// RFC 7515 §A.1, key of 64 bytes
	"0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebfd3fb5a92d20647ef968ab4c377623d223d2e2172052e4f08c0cd9af567d080a3",
	"0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebf", // its first half
	"849b57219dae48de646d07dbb533566e976686457c1491be3a76dcea6c427188", // RFC 7520 §3.5, symmetric key
	"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89", // pi, as in Blowfish
	"452821e638d01377be5466cf34e90c6cc0ac29b7c97c50dd3f84d5b5b5470917", // pi, what follows
	"6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19", // SHA-256, initial value
	"428a2f9871374491b5c0fbcfe9b5dba53956c25b59f111f1923f82a4ab1c5ed5", // SHA-256, first constants
	"6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1", // SHA-512, initial value
	"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", // secp256k1, generator
	"6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296", // P-256, generator
	"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", // Bitcoin, first block
	"4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b", // Bitcoin, its transaction
	"6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321", // Git, the empty tree
	"020305070b0d1113171d1f25292b2f353b3d4347494f53596165676b6d717f83", // prime numbers
	"0103091b51f3d7838897c44ade98c753f9e9b9297b704fedc54de7b31745cf6b", // powers of 3 modulo 257
	"c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721", // RFC 6979 §A.2.5, private key
	"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4", // RFC 7748 §5.2, scalar
	"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742", // RFC 7748 §6.1, shared secret
	"1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0", // RFC 8439 §A.5, key
	"c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558", // NIST AESAVS, AES-256
	"d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842", // Ed25519, examples
	"49f94ac7044948c78a285d904f87f0a4c7897f7e8f3a4eb2255fda750b2cc397", // jwt.io, signature of the example
	"d862c2e36b0a42f7827c67ebc8d44df77a5b95e4e83781234823c1189ecc40fc", // Python, random.getrandbits after seed(0)
	"cd072cd8be6f9f62ac4c09c28206e7e35594aa6b342f5d0a3a5e4842fab428f7", // Python, random.randbytes after seed(0)
	"2291d8cdc310411e7ec27378a661c935187c07e4d5636e9bc3c400b27244b8cd", // Python, random.getrandbits after seed(1)
	"f5b165224a58b791df6af1d8303e61cdc4bb86c3d1c427103c344c4189eb2f1e", // Python, random.randbytes after seed(1)
	"a31c06bd463e3923bc1aadbde48b16976c080717373b819a068f32b7a6b38b6b", // Python, random.getrandbits after seed(42)
	"9d79b1a37f31801cd11a6706fb40d6bd57526846903bb13ede562439e9c1b823", // Python, random.randbytes after seed(42)
	"f7c7701d0117e9f1f0ce9508abb11519c45a3c0407fcc90458a59f7b9d762617", // Python, random.getrandbits after seed(1234)
	"b97f69f75edf35c71fdad37066eae91d14f6ea01456b341770b835e942f549f1", // Python, random.randbytes after seed(1234)
}

// isSamplePhrase tells whether a text is a sample as it stands, in whatever case.
func isSamplePhrase(text string) bool {
	return slices.ContainsFunc(samplePhrases(), func(p string) bool { return len(p) == len(text) && strings.EqualFold(p, text) })
}
