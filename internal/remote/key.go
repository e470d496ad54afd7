package remote

// KeyFault is the fault of a key in the place of a name, which is written into messages and
// sent to servers; see [guessable.HoldsKey].
const KeyFault = "a part of it looks like a key, which others may have seen there: make another key, and name the secret that holds it; if it is a name after all, give the secret another one"
