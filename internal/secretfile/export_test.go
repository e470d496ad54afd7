package secretfile

// LockFile is the lock that Replace holds.
var LockFile = lockFile

// LockBeside is the lock of systems that have none for files.
var LockBeside = lockBeside

// WriteTemp makes what a crash leaves behind in the middle of a write.
var WriteTemp = writeTemp
