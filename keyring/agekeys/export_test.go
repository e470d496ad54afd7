package agekeys

// Turns is held by who tries a passphrase.
var Turns = turns
