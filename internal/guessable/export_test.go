package guessable

// Phrases are the phrases of which no form is accepted.
func Phrases() []string { return samplePhrases() }

// SampleSecrets are secrets in hexadecimal that are known to the world.
func SampleSecrets() []string { return sampleSecrets }
